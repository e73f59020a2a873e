// A local APIC's registers, as its page shows them and as MSRs.
#include <algorithm>

#include "silicon/apic/interrupts.h"
#include "silicon/apic/local_apic.h"
#include "silicon/apic/local_bits.h"

namespace silicon::apic {
namespace {

// By the order of LocalApic::Lvt: where each entry is, and what of it can be written.
constexpr struct {
    u32 offset, writable;
} entries[] = {{reg::cmci, 0x107ff},    {reg::timer, 0x700ff},  {reg::thermal, 0x107ff}, {reg::counters, 0x107ff},
               {reg::lint0, 0x1a7ff}, {reg::lint1, 0x1a7ff}, {reg::error, 0x100ff}};

constexpr u32 icr_low_bits = 0xccfff;

bool in_bitmap(u32 offset, u32 first) { return offset >= first && offset < first + 0x80; }

}  // namespace

bool LocalApic::lvt_at(u32 offset, Lvt& entry) {
    for (unsigned n = 0; n < lvt_count; ++n)
        if (entries[n].offset == offset) return entry = static_cast<Lvt>(n), true;
    return false;
}

u32 LocalApic::lvt_bits(unsigned entry) { return entries[entry].writable; }

u32 LocalApic::read(u32 offset) {
    if (Lvt entry; lvt_at(offset, entry)) return lvt_[entry];
    const unsigned word = offset >> 4 & 7;
    if (in_bitmap(offset, reg::isr)) return isr_[word];
    if (in_bitmap(offset, reg::tmr)) return tmr_[word].load(std::memory_order_relaxed);
    if (in_bitmap(offset, reg::irr)) return irr_[word].load(std::memory_order_relaxed);
    switch (offset) {
        case reg::id: return x2apic() ? index_ : index_ << 24;
        case reg::version: return version_word;
        case reg::tpr: return tpr_;
        case reg::ppr: return ppr_.load(std::memory_order_relaxed);
        case reg::ldr: return x2apic() ? x2apic_ldr(index_) : ldr_;
        case reg::dfr: return dfr_;
        case reg::svr: return svr_;
        case reg::esr: return esr_;
        case reg::icr: return u32(icr_);
        case reg::icr_high: return u32(icr_ >> 32);
        case reg::initial_count: return initial_count_;
        case reg::current_count: return current_count(clock_.now_ns());
        case reg::divide: return divide_;
        case reg::apr:
        case reg::eoi: return 0;
        default: note_error(error::no_register); return 0;
    }
}

void LocalApic::set_spurious(u32 value) {
    const bool was = svr_ & svr::enabled;
    svr_ = value & svr::writable;
    const bool now = svr_ & svr::enabled;
    if (was && !now)
        for (u32& entry : lvt_) entry |= lvt::masked;
    publish();
    if (now && !was) hub_.retry();
}

// While the APIC is disabled by software the mask bits stay set.
void LocalApic::set_lvt(Lvt entry, u32 value) {
    const u32 before = timer_mode();
    lvt_[entry] = (value & entries[entry].writable) | (svr_ & svr::enabled ? 0 : lvt::masked);
    if (entry != lvt_timer) return;
    timer_set_ = true;
    if ((before == timer::deadline) == (timer_mode() == timer::deadline)) return;
    tsc_deadline_ = 0;  // between the two ways nothing of the other is left running
    initial_count_ = 0;
    count_waits_ = false;
    timer_end_ = no_time;
}

void LocalApic::write(u32 offset, u32 value) {
    if (Lvt entry; lvt_at(offset, entry)) return set_lvt(entry, value);
    switch (offset) {
        case reg::tpr: return set_task_priority(u8(value));
        case reg::eoi: return end_of_interrupt();
        case reg::ldr: ldr_ = value & 0xff000000; return publish();
        case reg::dfr: dfr_ = value | 0x0fffffff; return publish();
        case reg::svr: return set_spurious(value);
        case reg::esr: esr_ = pending_errors_.exchange(0, std::memory_order_relaxed); return;
        case reg::icr:
            icr_ = (icr_ & ~u64{0xffffffff}) | (value & icr_low_bits);
            return command(icr_, false);
        case reg::icr_high: icr_ = (icr_ & 0xffffffff) | u64{value & 0xff000000} << 32; return;
        case reg::initial_count: return start_timer(value);
        case reg::divide: return set_divider(value);
        case reg::id:
        case reg::version:
        case reg::apr:
        case reg::ppr:
        case reg::current_count: return;
        default:
            if (!in_bitmap(offset, reg::isr) && !in_bitmap(offset, reg::tmr) && !in_bitmap(offset, reg::irr)) note_error(error::no_register);
    }
}

// What WRMSR may write there. Intel SDM vol. 3, "x2APIC Register Address Space", "Reserved Bit Checking".
bool LocalApic::msr_takes(u32 offset, u64 value) const {
    if (offset == reg::icr) return !(u32(value) & ~icr_low_bits);
    if (value >> 32) return false;
    if (Lvt entry; lvt_at(offset, entry)) return !(value & ~u64{entries[entry].writable | lvt::status | lvt::remote_irr});
    switch (offset) {
        case reg::tpr:
        case reg::self_ipi: return value <= 0xff;
        case reg::eoi:
        case reg::esr: return value == 0;
        case reg::svr: return !(value & ~u64{svr::writable});
        case reg::initial_count: return true;
        case reg::divide: return !(value & ~u64{divide_bits});
        default: return false;
    }
}

bool LocalApic::read_msr(u32 msr, u64& value) {
    if (msr == msr_tsc_deadline) return value = tsc_deadline_, true;
    const u32 offset = (msr - msr_first) << 4;
    if (!x2apic()) return false;
    if (offset == reg::icr) return value = icr_, true;
    const u32 absent[] = {reg::apr, reg::eoi, reg::dfr, reg::icr_high, reg::self_ipi};
    if (std::find(std::begin(absent), std::end(absent), offset) != std::end(absent)) return false;
    const u32 plain[] = {reg::id, reg::version, reg::tpr, reg::ppr, reg::ldr, reg::svr, reg::esr,
                         reg::initial_count, reg::current_count, reg::divide};
    Lvt entry;
    const bool there = lvt_at(offset, entry) || (offset >= reg::isr && offset < reg::esr) ||
                       std::find(std::begin(plain), std::end(plain), offset) != std::end(plain);
    if (there) value = read(offset);
    return there;
}

bool LocalApic::write_msr(u32 msr, u64 value) {
    if (msr == msr_tsc_deadline) {
        if (timer_mode() != timer::deadline) return true;  // without effect
        tsc_deadline_ = value;
        timer_set_ = true;
        return true;
    }
    const u32 offset = (msr - msr_first) << 4;
    if (!x2apic() || !msr_takes(offset, value)) return false;
    if (offset == reg::icr) {
        icr_ = value;
        command(value, true);
    } else if (offset == reg::self_ipi) {
        self_interrupt(u8(value));
    } else {
        write(offset, u32(value));
    }
    return true;
}

void LocalApic::self_interrupt(u8 vector) {
    if (vector < first_vector) return note_error(error::sent_vector);
    if (svr_ & svr::enabled) post_vector(vector, Trigger::Edge);
}

}  // namespace silicon::apic
