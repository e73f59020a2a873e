// How a processor waits, and is woken: HLT, and waiting for a start-up message.
#include <algorithm>
#include <chrono>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/interrupt_unit.h"
#include "silicon/x86_64/outside.h"

namespace silicon::x86 {
namespace {

constexpr u64 no_time = apic::no_time, most_sleep_ns = 1'000'000'000, turn_ns = 1'000'000;

}  // namespace

// Who sleeps looks before it goes on; who executes elsewhere is told.
void Cpu::notify(u32 request) {
    requests.fetch_or(request, std::memory_order_seq_cst);
    if (sleeping_.load(std::memory_order_seq_cst)) {
        { const std::lock_guard hold(wake_lock_); }
        wake_.notify_all();
    } else if (has_outside_.load(std::memory_order_seq_cst)) {
        const std::lock_guard hold(wake_lock_);
        if (outside_) outside_->interrupt();
    }
}

void Cpu::sleep(u64 most_ns) {
    const u64 began = Clock::host_ns();
    const auto woken = [&] { return (requests.load(std::memory_order_seq_cst) & request::wakes) != 0; };
    {
        std::unique_lock hold(wake_lock_);
        sleeping_.store(true, std::memory_order_seq_cst);
        wake_.wait_for(hold, std::chrono::nanoseconds(most_ns), woken);
        sleeping_.store(false, std::memory_order_relaxed);
    }
    idle_ns_ += Clock::host_ns() - began;
}

// MWAIT. Where time is counted in instructions nobody sleeps: runs repeat.
void Cpu::nap() {
    if (clock_.counts_instructions()) return;
    user_.inside.store(false, std::memory_order_seq_cst);
    sleep(std::min(turn_ns, most_wait_ns({})));
    user_.inside.store(true, std::memory_order_seq_cst);
    requests.fetch_or(request::memory, std::memory_order_seq_cst);
    run_timer();
}

// How long a waiting processor may sleep by the host's clock before it looks again.
u64 Cpu::most_wait_ns(const RunLimits& limits) const {
    u64 most = most_sleep_ns;
    const u64 now = clock_.now_ns(), due = std::min(limits.deadline_ns, timer_due());
    if (due != no_time && !clock_.counts_instructions()) most = std::min(most, due > now ? due - now : 0);
    if (const u64 host = Clock::host_ns(); slice_end_ns_ != no_time) most = std::min(most, slice_end_ns_ > host ? slice_end_ns_ - host : 0);
    return most;
}

// Where time is counted in instructions and nobody executes any, it goes on to the next moment that somebody waits for.
void Cpu::let_time_pass(const RunLimits& limits) {
    if (!clock_.counts_instructions()) return sleep(most_wait_ns(limits));
    const u64 mine = std::min(limits.deadline_ns, timer_due());
    if (unit_) unit_->local.next_due.store(mine, std::memory_order_seq_cst);
    clock_.execute(false);
    const u64 due = unit_ ? std::min(mine, unit_->hub.earliest_due()) : mine;
    if (!clock_.anybody_executes() && due != no_time) {
        if (!(requests.load(std::memory_order_seq_cst) & request::wakes)) clock_.advance_to(due);
        if (due != mine) sleep(turn_ns / 16);
    } else {
        sleep(due == no_time ? most_wait_ns(limits) : turn_ns);
    }
    clock_.execute(true);
    if (unit_) unit_->local.next_due.store(no_time, std::memory_order_relaxed);
}

// HLT and waiting for a start-up message: a kick, an event, the timer or the deadline ends it. True: leave.
bool Cpu::wait_in_hlt(const RunLimits& limits) {
    user_.inside.store(false, std::memory_order_seq_cst);
    let_time_pass(limits);
    user_.inside.store(true, std::memory_order_seq_cst);
    requests.fetch_or(request::memory, std::memory_order_seq_cst);
    run_timer();
    return attend() || over(limits);
}

}  // namespace silicon::x86
