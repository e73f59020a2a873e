// A local APIC: what reaches it, and what of that may interrupt.
#include "silicon/apic/local_apic.h"

#include <bit>

#include "silicon/apic/interrupts.h"
#include "silicon/apic/local_bits.h"

namespace silicon::apic {
namespace {

constexpr u32 event_error = 1, event_lint0 = 2;  // what the owner still has to look at

}  // namespace

LocalApic::LocalApic(Interrupts& hub, Processor& processor, Clock& clock, unsigned index, bool reports, const u64& tsc_offset)
    : hub_(hub), processor_(processor), clock_(clock), index_(index), reports_(reports), tsc_offset_(tsc_offset) {
    reset(default_base | base_enabled | (index == 0 ? base_boot_processor : 0));
}

// The boot processor is as firmware leaves it, in virtual-wire mode: LINT0 passes on what the 8259 pair has.
void LocalApic::reset(u64 base) {
    base_ = base;
    init();
    if (base & base_boot_processor) lvt_[lvt_lint0] = u32(Delivery::ExtInt) << lvt::delivery_shift;
}

// Intel SDM vol. 3, "Local APIC State After an INIT Reset ("Wait-for-SIPI" State)".
void LocalApic::init() {
    tpr_ = 0;
    svr_ = 0xff;
    dfr_ = ~u32{0};
    ldr_ = esr_ = 0;
    icr_ = 0;
    initial_count_ = divide_ = 0;
    timer_end_ = no_time;
    tsc_deadline_ = 0;
    timer_set_ = true;
    count_waits_ = false;
    for (u32& word : isr_) word = 0;
    for (u32& entry : lvt_) entry = lvt::masked;
    for (unsigned n = 0; n < 8; ++n) irr_[n] = tmr_[n] = aeoi_[n] = 0;
    pending_errors_ = 0;
    local_events_ = 0;
    nmi_ = ext_int_ = false;
    update_priority();
    publish();
}

// Intel SDM vol. 3, "x2APIC State Transitions".
bool LocalApic::set_base(u64 value, unsigned gpa_bits, bool by_guest) {
    constexpr u64 flags = base_boot_processor | base_x2apic | base_enabled, mode = base_x2apic | base_enabled;
    if (value & 0xfff & ~flags || value >> gpa_bits) return false;
    const u64 from = base_ & mode, to = value & mode;
    if (to == base_x2apic) return false;
    const bool back = from == mode && to == base_enabled, jump = from == 0 && to == mode;
    if (by_guest && (back || jump)) return false;
    base_ = value;
    if (to == 0 && from != 0) init();
    if (to == mode && from != mode) icr_ &= 0xffffffff;
    publish();
    return true;
}

// How messages find this one. Intel SDM vol. 3, "Determining IPI Destination", "Logical Destination Mode in x2APIC Mode".
void LocalApic::publish() {
    u32 route = enabled() ? route_enabled : 0;
    if (x2apic()) route |= route_x2apic;
    if (enabled() && svr_ & svr::enabled) route |= route_software;
    if (dfr_ >> 28 == 0xf) route |= route_flat;
    route_ldr_.store(x2apic() ? x2apic_ldr(index_) : ldr_ >> 24, std::memory_order_relaxed);
    route_.store(route, std::memory_order_release);
}

bool LocalApic::matches(const Message& message) const {
    const u32 route = route_.load(std::memory_order_acquire), to = message.destination;
    if (to == (message.wide ? ~u32{0} : 0xff)) return true;  // everybody
    if (!message.logical) return to == index_;
    const u32 mine = route_ldr_.load(std::memory_order_relaxed);
    if (route & route_x2apic) return to >> 16 == mine >> 16 && (to & mine & 0xffff) != 0;
    if (route & route_flat) return to <= 0xff && (to & mine) != 0;
    const bool cluster = to >> 4 == mine >> 4 || to >> 4 == 0xf;
    return to <= 0xff && cluster && (to & mine & 0xf) != 0;
}

void LocalApic::post_vector(u8 vector, Trigger trigger) {
    const u32 bit = u32{1} << (vector & 31);
    const unsigned word = vector >> 5;
    const auto put = [&](std::atomic<u32>& bits, bool on) {
        if (((bits.load(std::memory_order_relaxed) & bit) != 0) == on) return;
        on ? bits.fetch_or(bit, std::memory_order_relaxed) : bits.fetch_and(~bit, std::memory_order_relaxed);
    };
    put(tmr_[word], trigger == Trigger::Level);
    put(aeoi_[word], trigger == Trigger::EdgeAutoEoi);
    irr_[word].fetch_or(bit, std::memory_order_release);
    processor_.look();
}

bool LocalApic::post(const Message& message) {
    const u32 route = route_.load(std::memory_order_acquire);
    if (!(route & route_enabled)) return false;
    switch (message.delivery) {
        case Delivery::Fixed:
        case Delivery::LowestPriority:
            if (!(route & route_software)) return false;
            if (message.vector < first_vector)
                note_error(error::received_vector);
            else
                post_vector(message.vector, message.trigger);
            return true;
        case Delivery::Nmi: nmi_.store(true, std::memory_order_release); break;
        case Delivery::ExtInt: ext_int_.store(true, std::memory_order_release); break;
        case Delivery::Init: return processor_.receive_init(), true;
        case Delivery::StartUp: return processor_.receive_start_up(message.vector), true;
        case Delivery::Smi:
        case Delivery::Reserved: return false;  // there is no system-management mode
    }
    processor_.look();
    return true;
}

// From any thread: the vector table is the owner's, so it is asked to look.
void LocalApic::note_error(u32 bit) {
    pending_errors_.fetch_or(bit, std::memory_order_relaxed);
    local_events_.fetch_or(event_error, std::memory_order_release);
    processor_.look();
}

void LocalApic::set_ext_line(bool high) {
    const bool was = ext_line_.exchange(high, std::memory_order_acq_rel);
    if (!high || was) return;
    local_events_.fetch_or(event_lint0, std::memory_order_release);
    processor_.look();
}

// Intel SDM vol. 3, "Local Vector Table".
void LocalApic::raise_local(Lvt entry) {
    const u32 value = lvt_[entry];
    if (value & lvt::masked) return;
    const auto delivery = static_cast<Delivery>(value >> lvt::delivery_shift & 7);
    if (delivery == Delivery::Nmi) return nmi_.store(true, std::memory_order_relaxed), processor_.look();
    if (delivery != Delivery::Fixed) return;
    if (u8(value) >= first_vector) return post_vector(u8(value), Trigger::Edge);
    pending_errors_.fetch_or(error::received_vector, std::memory_order_relaxed);
    if (entry != lvt_error) raise_local(lvt_error);
}

void LocalApic::attend() {
    if (local_events_.load(std::memory_order_relaxed) == 0) return;
    const u32 events = local_events_.exchange(0, std::memory_order_acquire);
    if (events & event_error) raise_local(lvt_error);
    if (events & event_lint0 && enabled()) raise_local(lvt_lint0);
}

// Without an APIC the output of the 8259 pair is the boot processor's INTR pin.
bool LocalApic::takes_ext_int() const {
    if (ext_int_.load(std::memory_order_relaxed)) return true;
    if (!ext_line_.load(std::memory_order_relaxed)) return false;
    if (!enabled()) return base_ & base_boot_processor;
    const u32 value = lvt_[lvt_lint0];
    return !(value & lvt::masked) && static_cast<Delivery>(value >> lvt::delivery_shift & 7) == Delivery::ExtInt;
}

int LocalApic::highest(const Bits& bits) {
    for (int word = 7; word >= 0; --word)
        if (const u32 value = bits[word].load(std::memory_order_relaxed)) return word * 32 + 31 - std::countl_zero(value);
    return -1;
}

int LocalApic::highest(const u32 (&bits)[8]) {
    for (int word = 7; word >= 0; --word)
        if (bits[word]) return word * 32 + 31 - std::countl_zero(bits[word]);
    return -1;
}

// Intel SDM vol. 3, "Task and Processor Priorities".
void LocalApic::update_priority() {
    const int served = highest(isr_);
    const u8 service = served < 0 ? 0 : u8(served & 0xf0);
    ppr_.store((tpr_ & 0xf0) >= service ? tpr_ : service, std::memory_order_relaxed);
}

int LocalApic::waiting() const {
    if (!enabled()) return -1;
    const int vector = highest(irr_);
    return vector >> 4 > ppr_.load(std::memory_order_relaxed) >> 4 ? vector : -1;
}

void LocalApic::take(u8 vector) {
    const u32 bit = u32{1} << (vector & 31);
    irr_[vector >> 5].fetch_and(~bit, std::memory_order_acquire);
    if (aeoi_[vector >> 5].load(std::memory_order_relaxed) & bit) return;
    isr_[vector >> 5] |= bit;
    update_priority();
}

void LocalApic::set_task_priority(u8 value) {
    tpr_ = value;
    update_priority();
}

// Intel SDM vol. 3, "Signaling Interrupt Servicing Completion".
void LocalApic::end_of_interrupt() {
    const int vector = highest(isr_);
    if (vector < 0) return;
    const u32 bit = u32{1} << (vector & 31);
    isr_[vector >> 5] &= ~bit;
    update_priority();
    if (!(tmr_[vector >> 5].load(std::memory_order_relaxed) & bit)) return;
    if (reports_ && controls & control_io_eoi)
        notice = {Notice::Kind::IoApicEoi, u8(vector), 0};
    else
        hub_.end_of_interrupt(u8(vector));
}

// Intel SDM vol. 3, "Interrupt Command Register (ICR)".
void LocalApic::command(u64 icr, bool wide) {
    constexpr u64 logical = 1 << 11, asserted = 1 << 14, level = 1 << 15;
    Message message;
    message.wide = wide;
    message.destination = u32(icr >> (wide ? 32 : 56));
    message.logical = icr & logical;
    message.delivery = static_cast<Delivery>(icr >> 8 & 7);
    message.vector = u8(icr);
    message.shorthand = static_cast<Shorthand>(icr >> 18 & 3);
    const bool fixed = message.delivery == Delivery::Fixed || message.delivery == Delivery::LowestPriority;
    if (message.delivery == Delivery::Init && icr & level && !(icr & asserted)) return;  // INIT level de-assert
    if (message.delivery == Delivery::Reserved || message.delivery == Delivery::ExtInt) return;
    if (fixed && message.vector < first_vector) return note_error(error::sent_vector);
    if (message.shorthand == Shorthand::Self && !fixed) return;
    hub_.send(message, this);
}

}  // namespace silicon::apic
