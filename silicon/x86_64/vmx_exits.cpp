// What makes an exit by the VM-execution controls. Intel SDM vol. 3, chapter "VMX Non-Root Operation"; the values it leaves,
// section "VM-Exit Information" of chapter "VM Exits".
#include <algorithm>

#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
namespace {

constexpr u32 no_index = 1 << 22, no_base = 1 << 27, register_operand = 1 << 10;  // of the VM-exit instruction information

u32 address_size(const Insn& in) { return in.address_bytes == 8 ? 2 : in.address_bytes == 4 ? 1 : 0; }

// Scale, address size, segment, index and base, as all instructions with a memory operand give them.
u32 memory_info(const Insn& in) {
    u32 info = in.scale | address_size(in) << 7 | static_cast<u32>(in.seg) << 15;
    info |= in.index < 16 ? u32{in.index} << 18 : no_index;
    return info | (in.base < 16 ? u32{in.base} << 23 : no_base);
}

}  // namespace

// A bit of a bitmap, which lies in guest-physical memory; where there is none, it reads as set.
bool Cpu::bitmap_bit(u64 gpa, u64 bit) const {
    const u64 at_byte = gpa + bit / 8;
    const PageEntry page = memory_->entry(at_byte);
    return !page.is_mapped() || (load_host<u8>(page.host() + (at_byte & page_offset_mask)) >> (bit & 7) & 1);
}

// "Unconditional I/O exiting" is always on, so a bitmap only takes ports out. An access that wraps around 64 KiB exits.
bool Cpu::port_exits(u16 port, unsigned size_bytes) const {
    if (!control(proc::io_bitmaps) || port + size_bytes > 0x10000) return true;
    for (unsigned n = 0; n < size_bytes; ++n) {
        const unsigned one = port + n;
        if (bitmap_bit(one < 0x8000 ? vmcs.io_bitmap_a : vmcs.io_bitmap_b, one & 0x7fff)) return true;
    }
    return false;
}

// Apple's manner: what is native never exits, what is managed as its access says; of the rest a bitmap of the client's may take some out.
bool Cpu::msr_exits(u32 msr, bool write) const {
    if (!raw_) return exiting_msrs.contains(msr);
    if (native_msrs.contains(msr)) return false;
    if (const auto bound = managed_msrs.find(msr); bound != managed_msrs.end()) return !(bound->second & (write ? 2 : 1));
    const bool high = msr >= 0xc0000000;
    if (!control(proc::msr_bitmaps) || !vmcs.msr_bitmap || (high ? msr > 0xc0001fff : msr > 0x1fff)) return true;
    return bitmap_bit(vmcs.msr_bitmap + (write ? 2048 : 0) + (high ? 1024 : 0), msr & 0x1fff);
}

bool Cpu::cr3_load_exits(u64 value) const {
    if (!control(proc::cr3_load)) return false;
    const auto* end = vmcs.cr3_target + std::min(vmcs.cr3_count, cr3_targets);
    return std::find(vmcs.cr3_target, end, value) == end;
}

// The qualification is the displacement, relative to RIP the sum.
Outcome Cpu::operand_exit(const Insn& in, Reason reason, u32 info, bool memory) {
    const bool relative = in.base == slot_block_rip;
    stop_with(ExitKind::Unnamed, reason, !memory ? 0 : relative ? offset_of(in) : u64(i64{in.disp}));
    exit.instruction_info = info | (memory ? memory_info(in) : register_operand);
    return Outcome::Stop;
}

// LGDT and its kin (`reason` 46), LLDT and its kin (47).
Outcome Cpu::descriptor_exit(const Insn& in, Reason reason, unsigned identity, bool memory, unsigned operand_bytes) {
    u32 info = identity << 28 | (memory ? 0 : u32{in.reg[0]} / 8 << 3);
    if (reason == Reason::GdtrIdtr && operand_bytes != 2) info |= 1 << 11;
    return operand_exit(in, reason, info, memory);
}

// Below its threshold the instruction is done, and then there is an exit.
Outcome Cpu::set_task_priority(u64 value) {
    keep_task_priority(value);
    return tpr_below_threshold() ? leave_with(ExitKind::Unnamed, Reason::TprBelowThreshold) : Outcome::Next;
}

void Cpu::note_string_exit(const Insn& in, u64 linear) {
    exit.gva = linear;
    exit.instruction_info = address_size(in) << 7 | static_cast<u32>(in.seg) << 15;
}

// What an entry injects, before anything else happens. True: leave.
bool Cpu::take_injected() {
    if (!injected_.pending || !pieces_.empty()) return false;
    const Event event = injected_;
    injected_.pending = false;
    vmcs.entry_info &= ~(u32{1} << 31);
    activity = 0;
    const bool trap_alone = event.type == EventType::MonitorTrap;
    if (!trap_alone && !deliver(event, true)) return true;
    if (!trap_alone && !control(proc::monitor_trap)) return false;
    set_exit(ExitKind::MonitorTrap, Reason::MonitorTrap);
    return true;
}

// Exits at a boundary between two instructions, the most urgent first. Intel SDM vol. 3, "Priority Among Concurrent Events".
bool Cpu::take_windows() {
    if (tpr_trap_) {
        tpr_trap_ = false;
        set_exit(ExitKind::Unnamed, Reason::TprBelowThreshold);
        return true;
    }
    if (control(proc::nmi_window) && !(interruptibility & (2 | 8)) && activity != 3) {
        set_exit(ExitKind::NmiWindow, Reason::NmiWindow);
        return true;
    }
    if (!control(proc::interrupt_window) || !interrupts_enabled() || interruptibility & 3 || activity > 1) return false;
    set_exit(ExitKind::InterruptWindow, Reason::InterruptWindow);
    return true;
}

// At an exit: what is left of the preemption timer goes into its field if the controls want it.
void Cpu::stop_timer() {
    if (!timer_runs_) return;
    timer_runs_ = false;
    if (!(vmcs.exit_controls & exit_control::save_timer)) return;
    const u64 now = clock_.now_ns();
    vmcs.timer = now >= timer_end_ns_ ? 0 : u32((timer_end_ns_ - now) >> timer_shift);
}

// "Virtualize APIC accesses": the page loses its way round through the TLB.
void Cpu::watch_apic_page() {
    const bool watch = control2(proc2::virtual_apic);
    if (watch == apic_watched_ && vmcs.apic_access == apic_page_) return;
    apic_watched_ = watch;
    apic_page_ = vmcs.apic_access & ~page_offset_mask;
    flush_tlb();
}

// Paging structures on the page are guest-physical accesses, told apart from linear ones. Intel SDM vol. 3, "APIC-Access VM
// Exits", table "Exit Qualification for APIC-Access VM Exits from Linear Accesses and Guest-Physical Accesses".
void Cpu::apic_access(u64 gpa, u64 at, Access access, bool walking) {
    constexpr u64 by_delivery = 3, physical_delivery = 10, physical = 15;
    const u64 type = walking ? delivering_ ? physical_delivery : physical : delivering_ ? by_delivery : static_cast<u64>(access);
    set_exit(ExitKind::Unnamed, Reason::ApicAccess);
    exit.qualification = (gpa & page_offset_mask) | type << 12;
    exit.gpa = gpa;
    exit.gva = at;
}

// With a TPR shadow the task-priority register of the page is the guest's own. Intel SDM vol. 3, "Virtualizing Reads from the
// APIC-Access Page", "Virtualizing Writes to the APIC-Access Page".
bool Cpu::task_priority_access(u64 gpa, unsigned size_bytes) const {
    constexpr u64 task_priority = 0x80;
    return on_apic_page(gpa) && control(proc::tpr_shadow) && (gpa & page_offset_mask) == task_priority && size_bytes <= 4 && !delivering_;
}

}  // namespace silicon::x86
