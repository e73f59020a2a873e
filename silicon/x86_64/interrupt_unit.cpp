// Where the processor meets the interrupt controllers: their pages, ports and MSRs, and what interrupts it.
// Intel SDM vol. 3, chapter "Advanced Programmable Interrupt Controller (APIC)".
#include "silicon/x86_64/interrupt_unit.h"

#include <algorithm>

#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
namespace {

constexpr u32 msr_apic_base = 0x1b;
// The four that hv_apic_ctrl_t turns on, numbered as in the hypervisor interface that Windows uses.
constexpr u32 msr_eoi = 0x40000070, msr_icr = 0x40000071, msr_tpr = 0x40000072, msr_idle = 0x400000f0;

}  // namespace

InterruptUnit::InterruptUnit(Cpu& processor, apic::Interrupts& all, Clock& clock)
    : cpu(processor), hub(all), local(all, *this, clock, processor.index(), processor.raw(), processor.tsc_offset) {
    hub.join(local);
}

InterruptUnit::~InterruptUnit() { hub.part(local); }

void InterruptUnit::look() { cpu.notify(request::event); }
void InterruptUnit::receive_init() { cpu.send_init(); }
void InterruptUnit::receive_start_up(u8 vector) { cpu.send_start_up(vector); }

// In Apple's manner the client starts the others; ours start themselves, and wait for that from the beginning.
void Cpu::attach(apic::Interrupts& interrupts) {
    unit_ = std::make_unique<InterruptUnit>(*this, interrupts, clock_);
    cpuid.add_apic();
    unit_->power_up();
}

void Cpu::power_up() {
    reset_hardware();
    if (unit_) unit_->power_up();
}

bool Cpu::read_msr(u32 msr, u64& value) { return unit_owns_msr(msr) ? unit_->read_msr(msr, value) : get_msr(msr, value); }
bool Cpu::write_msr(u32 msr, u64 value) {
    if (!unit_owns_msr(msr)) return set_msr(msr, value);
    if (!unit_->write_msr(msr, value, false)) return false;
    unit_->follow_task_priority();
    return true;
}

void Cpu::keep_task_priority(u64 value) {
    cr8 = value;
    if (unit_) unit_->local.set_task_priority(u8(value << 4));
}

bool Cpu::on_unit_page(u64 gpa) const { return unit_ && unit_->on_page(gpa); }
bool Cpu::unit_owns_port(u16 port) const { return unit_ && unit_->owns_port(port); }
bool Cpu::unit_owns_msr(u32 number) const { return unit_ && unit_->owns_msr(number); }
u64 Cpu::timer_due() const { return unit_ ? unit_->local.timer_due(clock_.now_ns()) : apic::no_time; }

void Cpu::run_timer() {
    if (unit_) unit_->local.run_timer(clock_.now_ns());
}

void InterruptUnit::power_up() {
    const bool boot = cpu.index_ == 0;
    local.reset(apic::default_base | apic::base_enabled | (boot ? apic::base_boot_processor : 0));
    local.notice = {};
    if (!boot && !cpu.raw_) cpu.activity = activity_waits;
}

// ---- pages and ports ----

bool InterruptUnit::on_page(u64 gpa) const {
    return local.on_page(gpa) || (!cpu.raw_ && (gpa ^ apic::IoApic::address) >> page_shift == 0);
}

// Registers of 32 bits, one in 16 bytes; what lies between them reads as 0.
Slow InterruptUnit::load(u64 gpa, unsigned size_bytes) {
    const u32 offset = gpa & page_offset_mask & ~u64{0xf}, byte = gpa & 0xf;
    if (byte > 3 || (byte != 0 && byte + size_bytes > 4)) return {0, Outcome::Next};
    const u32 value = local.on_page(gpa) ? local.read(offset) : hub.io_read(offset);
    const u64 mask = size_bytes < 4 ? (u64{1} << 8 * size_bytes) - 1 : 0xffffffff;
    return {value >> 8 * byte & mask, Outcome::Next};
}

// A store ends the block, so that what it brings about comes right behind it. Less than 32 bits only select a register.
Outcome InterruptUnit::store(u64 gpa, u64 value, unsigned size_bytes) {
    const u32 offset = gpa & page_offset_mask & ~u64{0xf};
    const bool mine = local.on_page(gpa), selects = !mine && offset == 0;
    if ((gpa & 0xf) != 0 || (size_bytes < 4 && !selects)) return Outcome::Next;
    if (!mine) return hub.io_write(offset, u32(value)), cpu.request_event(), Outcome::Leave;
    local.write(offset, u32(value));
    return after_write(offset);
}

void InterruptUnit::follow_task_priority() { cpu.cr8 = local.task_priority() >> 4; }

bool InterruptUnit::load_local(const apic::LocalState& saved) {
    if (!local.load(saved)) return false;
    follow_task_priority();
    cpu.flush_tlb();  // the page may have moved
    return true;
}

// Apple's manner: an exit behind the write where the client has to do something.
Outcome InterruptUnit::after_write(u32 offset) {
    follow_task_priority();
    cpu.request_event();
    if (local.notice.kind == apic::Notice::Kind::None) return Outcome::Leave;
    cpu.set_exit(ExitKind::Unnamed, Reason::ApicWrite);
    cpu.exit.qualification = offset;
    return Outcome::Leave;
}

bool InterruptUnit::owns_port(u16 port) const { return !cpu.raw_ && apic::PicPair::owns(port); }

u64 InterruptUnit::in(u16 port, unsigned size_bytes) {
    u64 value = 0;
    for (unsigned n = 0; n < size_bytes; ++n) {
        const u16 one = u16(port + n);
        value |= u64{owns_port(one) ? hub.pic_read(one) : u8{0xff}} << 8 * n;
    }
    return value;
}

Outcome InterruptUnit::out(u16 port, unsigned size_bytes, u32 value) {
    for (unsigned n = 0; n < size_bytes; ++n)
        if (const u16 one = u16(port + n); owns_port(one)) hub.pic_write(one, u8(value >> 8 * n));
    cpu.request_event();
    return Outcome::Leave;
}

// ---- MSRs ----

bool InterruptUnit::owns_msr(u32 number) const {
    if (number >= apic::msr_first && number <= apic::msr_last) return true;
    if (number == msr_apic_base || number == apic::msr_tsc_deadline) return true;
    const u64 controls = local.controls;
    if (controls & apic::control_idle && number == msr_idle) return true;
    return controls & apic::control_msrs && number >= msr_eoi && number <= msr_tpr;
}

bool InterruptUnit::read_msr(u32 number, u64& value) {
    switch (number) {
        case msr_apic_base: value = local.base(); return true;
        case msr_icr: value = u64{local.read(0x310)} << 32 | local.read(0x300); return true;
        case msr_tpr: value = local.task_priority(); return true;
        case msr_eoi: return false;
        case msr_idle: value = 0; return true;
        default: return local.read_msr(number, value);
    }
}

bool InterruptUnit::write_msr(u32 number, u64 value, bool by_guest) {
    switch (number) {
        case msr_apic_base:
            if (!local.set_base(value, GuestMemory::gpa_bits, by_guest)) return false;
            cpu.flush_tlb();  // the page has moved, come or gone
            return true;
        case msr_eoi: local.end_of_interrupt(); return true;
        case msr_icr:
            local.write(0x310, u32(value >> 32));
            local.write(0x300, u32(value));
            return true;
        case msr_tpr: return value <= 0xff && (local.set_task_priority(u8(value)), true);
        case msr_idle: return false;
        default: return local.write_msr(number, value);
    }
}

// In Apple's manner the client gives the guest its #GP.
Outcome InterruptUnit::refuse_msr(Reason reason) {
    if (!cpu.raw_) return cpu.raise(vector_gp, 0);
    local.notice = {apic::Notice::Kind::InjectException, vector_gp, 0};
    return cpu.stop_with(ExitKind::Unnamed, reason);
}

Slow InterruptUnit::rdmsr(u32 number) {
    u64 value = 0;
    if (!read_msr(number, value)) return {0, refuse_msr(Reason::Rdmsr)};
    if (number != msr_idle) return {value, Outcome::Next};
    cpu.set_gpr<u32>(rax, 0);
    cpu.set_gpr<u32>(rdx, 0);
    return {0, halt()};
}

Outcome InterruptUnit::wrmsr(u32 number, u64 value) {
    if (!write_msr(number, value, true)) return refuse_msr(Reason::Wrmsr);
    return after_write(number >= apic::msr_first && number <= apic::msr_last ? (number - apic::msr_first) << 4 : 0);
}

// ---- identity ----

// What CPUID says of the processor among others. Intel SDM vol. 2A, "CPUID", leaves 01H and 0BH.
void InterruptUnit::identify(CpuidLeaf& found) const {
    const u32 count = hub.processors();
    u32 shift = 0;
    while ((1u << shift) < count) ++shift;
    if (found.leaf == 1) {
        found.reg[1] = (found.reg[1] & 0xffff) | std::min(count, 255u) << 16 | cpu.index_ << 24;
        found.reg[3] = (found.reg[3] & ~(1u << 28)) | u32{count > 1} << 28;
        if (!local.enabled()) found.reg[3] &= ~(1u << 9);
    } else if (found.leaf == 0xb) {
        const u32 level = found.subleaf, threads = 0, cores = 1;
        found.reg[0] = level == cores ? shift : 0;
        found.reg[1] = level == threads ? 1 : level == cores ? count : 0;
        found.reg[2] = (level & 0xff) | (level == threads ? 1u << 8 : level == cores ? 2u << 8 : 0);
        found.reg[3] = cpu.index_;
    }
}

// ---- events ----

// NMI, then what the 8259 pair has, then the APIC's own. True: leave. Intel SDM vol. 3, "Priority Among Concurrent Events".
bool InterruptUnit::take_interrupts() {
    if (!cpu.pieces_.empty()) return false;
    local.attend();
    Event event;
    if (local.nmi_waits() && !(cpu.interruptibility & (1 | 2 | 8))) {
        local.take_nmi();
        event.vector = vector_nmi;
        event.type = EventType::Nmi;
    } else if (!cpu.interrupts_enabled() || cpu.interruptibility & 3) {
        return false;
    } else if (local.takes_ext_int()) {
        local.took_ext_int();
        event.vector = hub.acknowledge_pic();
        event.type = EventType::External;
    } else if (const int vector = local.waiting(); vector >= 0) {
        local.take(u8(vector));
        event.vector = u8(vector);
        event.type = EventType::External;
    } else {
        return false;
    }
    cpu.activity = 0;
    return !cpu.deliver(event);
}

// HLT where there are interrupt controllers. With interrupts off it is worth a word: only NMI and INIT can end it.
Outcome InterruptUnit::halt() {
    cpu.activity = 1;
    cpu.request_event();
    return !cpu.raw_ && !cpu.interrupts_enabled() ? cpu.leave_with(ExitKind::Halted, Reason::Hlt) : Outcome::Leave;
}

}  // namespace silicon::x86
