// What of VMX runs here: the capability words. Intel SDM vol. 3, appendix "VMX Capability Reporting Facility".
#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
namespace {

// The TSC offset is always applied; ports without a device of the monitor's do not exist, so all of them exit.
constexpr u32 proc_must = 0x04006172 | proc::io | proc::secondary | proc::tsc_offset;
constexpr u32 proc_may = proc::interrupt_window | proc::hlt | proc::invlpg | proc::mwait | proc::rdpmc | proc::rdtsc | proc::cr3_load |
                         proc::cr3_store | proc::cr8_load | proc::cr8_store | proc::tpr_shadow | proc::nmi_window | proc::mov_dr |
                         proc::io_bitmaps | proc::monitor_trap | proc::msr_bitmaps | proc::monitor | proc::pause;
constexpr u32 proc2_may = proc2::virtual_apic | proc2::descriptor_table | proc2::rdtscp | proc2::vpid | proc2::wbinvd | proc2::invpcid |
                          proc2::shadow;
constexpr u32 entry_may = entry_control::debug_controls | entry_control::ia32e | entry_control::load_pat | entry_control::load_efer;
constexpr u32 exit_may = exit_control::debug_controls | exit_control::ack | exit_control::save_pat | exit_control::load_pat |
                         exit_control::save_efer | exit_control::load_efer | exit_control::save_timer;
// Activity states HLT, shutdown and wait-for-SIPI; CR3 targets; EFER.LMA goes into the entry control at an exit; VMWRITE reaches
// every field of a shadow VMCS; an event may be injected with an instruction length of 0.
constexpr u64 misc = timer_shift | 1 << 5 | 7 << 6 | cr3_targets << 16 | 1 << 29 | u64{1} << 30;
constexpr u64 cr4_may = 0x27ff | cr4::umip | cr4::fsgsbase | cr4::pcide | cr4::osxsave | cr4::smep | cr4::smap;

}  // namespace

// Reserved bits are those that the SDM calls default1 in the "true" words.
u64 Capabilities::word(unsigned which, bool& known) {
    known = true;
    switch (which) {
        case 0:
        case 6: return make(0x16, pin::external_interrupt | pin::nmi | pin::virtual_nmi | pin::preemption_timer);
        case 1:
        case 7: return make(proc_must, proc_may);
        case 2: return make(proc2::ept | proc2::unrestricted, proc2_may);
        case 3:
        case 8: return make(0x11fb, entry_may);
        case 4:
        case 9: return make(0x36dfb | exit_control::host64, exit_may);
        case 5: return u64{1} << 55 | u64{1} << 54 | u64{4096} << 32 | 1;  // true controls; INS and OUTS say how; region size; revision
        case 10: return misc;
        case 11: return cr0::pg | cr0::ne | cr0::pe;
        case 12: return 0xffffffff;
        case 13: return cr4::vmxe;
        case 14: return cr4_may;
        case 15: return 0x2e;
        case 16: return 0x06114141;  // 4-level walks, write-back, 2 MiB and 1 GiB pages, execute-only, INVEPT, INVVPID
        case 32: return timer_shift;
        default: known = false; return 0;
    }
}

Vmcs::Vmcs() {
    bool known = false;
    pin = u32(Capabilities::word(0, known));
    proc = u32(Capabilities::word(1, known));
    proc2 = u32(Capabilities::word(2, known));
    entry_controls = u32(Capabilities::word(3, known));
    exit_controls = u32(Capabilities::word(4, known));
}

}  // namespace silicon::x86
