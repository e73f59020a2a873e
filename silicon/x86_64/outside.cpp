// Interrupts for a processor whose instructions somebody else executes. In its loop: look, do what is wanted, execute
// until an exit or an `Interrupter` call. Nothing is lost between: what comes is kept in `requests` until the next look.
#include "silicon/x86_64/outside.h"

#include <algorithm>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/interrupt_unit.h"

namespace silicon::x86 {

// From now on `who` is told; null: nobody is. The one before is not called any more when this returns.
void Cpu::run_outside(Interrupter* who) {
    const std::lock_guard hold(wake_lock_);
    outside_ = who;
    has_outside_.store(who != nullptr, std::memory_order_seq_cst);
}

// The order is that of InterruptUnit::take_interrupts. `can` has bits of namespace takes: what can be taken is taken, the
// rest is told.
u32 Cpu::look_outside(u32 can, u64 task_priority) {
    if (requests.load(std::memory_order_seq_cst) & request::memory) attend_memory();
    const u32 seen = requests.fetch_and(~request::event, std::memory_order_seq_cst);
    if (seen & (request::init | request::start_up)) return wants::message;
    apic::LocalApic& local = unit_->local;
    if (task_priority != cr8) keep_task_priority(task_priority);
    if (local.timer_set()) local.begin_count();
    run_timer();
    local.attend();
    if (activity == activity_waits) return wants::wait;
    if (local.nmi_waits()) {
        if (can & takes::nmi) local.take_nmi(), activity = 0;
        return wants::nmi;
    }
    const bool ext_int = local.takes_ext_int();
    const int vector = ext_int ? 0 : local.waiting();
    if (!ext_int && vector < 0) return activity ? wants::wait : 0;
    if (!(can & takes::interrupt)) return activity ? wants::wait : wants::window;
    activity = 0;
    if (!ext_int) return local.take(u8(vector)), wants::interrupt | u32(vector);
    local.took_ext_int();
    return wants::interrupt | unit_->hub.acknowledge_pic();
}

void Cpu::take_messages_outside() { take_messages(requests.load(std::memory_order_seq_cst) & (request::init | request::start_up)); }

// Sleeps until something comes, the timer is due, the deadline is there or `most_ns` are over.
void Cpu::wait_outside(u64 deadline_ns, u64 most_ns) {
    RunLimits limits;
    limits.deadline_ns = deadline_ns;
    slice_end_ns_ = ~u64{0};
    sleep(std::min(most_ns, most_wait_ns(limits)));
}

u64 Cpu::due_outside() const { return timer_due(); }

}  // namespace silicon::x86
