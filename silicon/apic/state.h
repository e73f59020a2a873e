// The saved states of the interrupt controllers, laid out as Apple's hv_apic_state, hv_atpic_state and hv_ioapic_state
// (spec/api/intel.toml), with the version before each as in the structs that end in _ext_t.
#pragma once

#include "silicon/types.h"

namespace silicon::apic {

struct LocalState {
    u64 apic_gpa, apic_controls, tsc_deadline;
    u32 apic_id, ver, tpr, apr, ldr, dfr, svr;
    u32 isr[8], tmr[8], irr[8];
    u32 esr;
    u32 lvt[7];  // CMCI, timer, thermal, performance counters, LINT0, LINT1, error
    u32 icr[2];
    u32 icr_timer, dcr_timer, ccr_timer;
    u32 esr_pending, boot_state;
    u32 aeoi[8];
};

struct PicState {
    u8 ready, icw_num, rd_cmd_reg, aeoi, poll, rotate, sfn, irq_base, request, service, mask, smm, last_request, lowprio, intr_raised, elc;
};

struct IoState {
    u64 rtbl[32];
    u32 irr, ioa_id, ioregsel, reserved;
};

static_assert(sizeof(LocalState) == 240 && sizeof(PicState) == 16 && sizeof(IoState) == 272);

enum BootState : u32 { boot_init = 0, boot_start_up = 1, boot_running = 2 };

}  // namespace silicon::apic
