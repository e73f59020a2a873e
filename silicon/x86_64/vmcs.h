// The VMCS fields that are not guest state: what exits, what to inject, and fields that are only kept.
// Intel SDM vol. 3, "VM-Execution Control Fields", "VM-Entry Control Fields", "VM-Exit Control Fields".
#pragma once

#include <map>

#include "silicon/types.h"
#include "silicon/x86_64/shadow_vmcs.h"

namespace silicon::x86 {

namespace pin {
inline constexpr u32 external_interrupt = 1 << 0, nmi = 1 << 3, virtual_nmi = 1 << 5, preemption_timer = 1 << 6;
}
namespace proc {
inline constexpr u32 interrupt_window = 1 << 2, tsc_offset = 1 << 3, hlt = 1 << 7, invlpg = 1 << 9, mwait = 1 << 10, rdpmc = 1 << 11;
inline constexpr u32 rdtsc = 1 << 12, cr3_load = 1 << 15, cr3_store = 1 << 16, cr8_load = 1 << 19, cr8_store = 1 << 20;
inline constexpr u32 tpr_shadow = 1 << 21, nmi_window = 1 << 22, mov_dr = 1 << 23, io = 1 << 24, io_bitmaps = 1 << 25;
inline constexpr u32 monitor_trap = 1 << 27, msr_bitmaps = 1 << 28, monitor = 1 << 29, pause = 1 << 30;
inline constexpr u32 secondary = u32{1} << 31;
}  // namespace proc
namespace proc2 {
inline constexpr u32 virtual_apic = 1 << 0, ept = 1 << 1, descriptor_table = 1 << 2, rdtscp = 1 << 3, vpid = 1 << 5, wbinvd = 1 << 6;
inline constexpr u32 unrestricted = 1 << 7, invpcid = 1 << 12, shadow = 1 << 14;
}  // namespace proc2
namespace entry_control {
inline constexpr u32 debug_controls = 1 << 2, ia32e = 1 << 9, load_pat = 1 << 14, load_efer = 1 << 15;
}
namespace exit_control {
inline constexpr u32 debug_controls = 1 << 2, host64 = 1 << 9, ack = 1 << 15, save_pat = 1 << 18, load_pat = 1 << 19, save_efer = 1 << 20;
inline constexpr u32 load_efer = 1 << 21, save_timer = 1 << 22;
}  // namespace exit_control

inline constexpr unsigned timer_shift = 5;  // the preemption timer counts once in 2^5 TSC ticks
inline constexpr unsigned cr3_targets = 4;

// Low half: must be 1; high half: may be 1. Reserved bits that the SDM calls "default1" are must-be-1.
struct Capabilities {
    static u64 word(unsigned which, bool& known);
    static constexpr u64 make(u32 must, u32 may) { return u64{must | may} << 32 | must; }
};

struct Vmcs {
    u32 pin = 0, proc = 0, proc2 = 0, exit_controls = 0, entry_controls = 0;  // the constructor sets what must be 1
    u32 exception_bitmap = 0, page_fault_mask = 0, page_fault_match = 0;
    u64 cr0_mask = 0, cr4_mask = 0, cr0_shadow = 0, cr4_shadow = 0;
    u64 cr3_target[cr3_targets] = {0, 0, 0, 0};
    u32 cr3_count = 0;
    u64 io_bitmap_a = 0, io_bitmap_b = 0, msr_bitmap = 0;  // guest-physical: the only physical addresses that a client has
    u64 apic_access = 0;                                   // guest-physical page of the local APIC
    u32 tpr_threshold = 0;
    u32 timer = 0;  // VMX-preemption timer, in units of 2^timer_shift TSC ticks
    u64 pending_debug = 0;
    u64 link_pointer = ~u64{0};
    u32 entry_info = 0, entry_error = 0, entry_length = 0;
    u32 exit_store_count = 0, exit_load_count = 0, entry_load_count = 0;  // MSR areas: not offered, so they must stay 0
    u32 instruction_error = 0;
    ShadowVmcs shadow;
    std::map<u32, u64> kept;  // fields without an effect here read back what was written

    Vmcs();
};

}  // namespace silicon::x86
