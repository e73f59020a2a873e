// INIT and start-up: what an interrupt controller does to a processor of several.
// Intel SDM vol. 3, "Processor State After Reset", "Multiple-Processor (MP) Initialization".
#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/interrupt_unit.h"

namespace silicon::x86 {
namespace {

constexpr u32 msr_apic_base = 0x1b;
constexpr u64 boot_processor = 1 << 8;  // BSP of IA32_APIC_BASE

}  // namespace

void Cpu::send_init() { notify(request::init); }

void Cpu::send_start_up(u8 vector) {
    start_up_vector_.store(vector, std::memory_order_relaxed);
    notify(request::start_up);
}

// Inside `run`, at a boundary. Of both at once INIT came first: a start-up before it would have had nobody who waits.
// In Apple's manner, and without an interrupt controller of ours, both are exits and what they do is the client's: start-up
// only for one that waits for it, INIT for all others; one that waits blocks INIT until it waits no more. True: leave.
// Intel SDM vol. 3, "Other Causes of VM Exits".
bool Cpu::take_messages(u32 seen) {
    const u32 taken = seen & request::init ? request::init : request::start_up;
    requests.fetch_and(~taken, std::memory_order_seq_cst);
    const u8 vector = start_up_vector_.load(std::memory_order_relaxed);
    if (!raw_ || unit_) {
        taken == request::init ? init() : start_up(vector);
    } else if ((taken == request::init) != (activity == activity_waits)) {
        set_exit(ExitKind::Unnamed, taken == request::init ? Reason::Init : Reason::StartUp);
        exit.qualification = taken == request::init ? 0 : vector;
        return true;
    } else if (taken == request::init) {
        init_blocked_ = true;
    }
    return seen & ~taken & request::start_up ? take_messages(request::start_up) : false;
}

// At an entry: somebody outside has ended the wait.
void Cpu::unblock_init() {
    init_blocked_ = false;
    send_init();
}

// As a reset, but caches, MSRs, the time-stamp counter, XCR0 and the x87 and SIMD state stay. The boot processor starts at
// the reset vector, the others wait for a start-up message.
void Cpu::init() {
    const u64 kept_cr0 = cr0 & (cr0::cd | cr0::nw), kept_xcr0 = xcr0, kept_tsc_offset = tsc_offset;
    const FxState kept_fx = fx;
    auto kept_msrs = std::move(plain_msrs);
    const u64 apic_base = unit_ ? unit_->local.base() : kept_msrs[msr_apic_base];
    reset_hardware();
    cr0 = cr0::et | kept_cr0 | (raw_ ? cr0::ne : 0);  // which VMX keeps at 1
    xcr0 = kept_xcr0;
    tsc_offset = kept_tsc_offset;
    fx = kept_fx;
    plain_msrs = std::move(kept_msrs);
    activity = apic_base & boot_processor ? 0 : activity_waits;
    if (unit_) unit_->local.init();
    state_changed();
}

void Cpu::start_up(u8 vector) {
    if (activity != activity_waits) return;  // ignored, as the manual says
    activity = 0;
    Segment& cs = at(Seg::Cs);
    cs.selector = u16(vector << 8);
    cs.base = u64{vector} << 12;
    rip = 0;
    state_changed();
}

}  // namespace silicon::x86
