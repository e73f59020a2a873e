// A local APIC's timer, by the VM's clock. Intel SDM vol. 3, "APIC Timer", "TSC-Deadline Mode".
#include <algorithm>
#include <utility>

#include "silicon/apic/interrupts.h"
#include "silicon/apic/local_apic.h"
#include "silicon/apic/local_bits.h"

namespace silicon::apic {
namespace {

constexpr u64 ns_per_second = 1'000'000'000;
static_assert(Clock::tsc_hz == ns_per_second, "a TSC tick is a nanosecond of the clock");

using u128 = unsigned __int128;

}  // namespace

// Bits 0, 1 and 3 of the divide configuration: 2, 4, 8, 16, 32, 64, 128, 1.
unsigned LocalApic::divider() const { return 1u << (((divide_ & 3) | (divide_ >> 1 & 4)) + 1) % 8; }

u64 LocalApic::ticks_to_ns(u64 ticks) const {
    const u64 hz = hub_.bus_hz();
    return u64((u128{ticks} * divider() * ns_per_second + hz - 1) / hz);
}

u64 LocalApic::ns_to_ticks(u64 ns) const { return u64(u128{ns} * hub_.bus_hz() / (u128{ns_per_second} * divider())); }

u32 LocalApic::current_count(u64 now) const {
    if (count_waits_) return initial_count_;
    if (timer_end_ == no_time || now >= timer_end_) return 0;
    return u32(std::clamp<u64>(ns_to_ticks(timer_end_ - now), 1, initial_count_));
}

void LocalApic::start_timer(u32 initial) {
    if (timer_mode() == timer::deadline) return;
    initial_count_ = initial;
    timer_end_ = no_time;
    count_waits_ = timer_set_ = true;
}

// Behind the instruction that wrote it, when the clock has been told of all before.
void LocalApic::begin_count() {
    if (!std::exchange(count_waits_, false)) return;
    timer_end_ = initial_count_ ? clock_.now_ns() + ticks_to_ns(initial_count_) : no_time;
}

// The count that is left goes on with the new divider.
void LocalApic::set_divider(u32 value) {
    const u64 now = clock_.now_ns();
    const u32 left = current_count(now);
    divide_ = value & divide_bits;
    if (timer_end_ != no_time) timer_end_ = now + ticks_to_ns(left);
    timer_set_ = true;
}

u64 LocalApic::timer_due(u64 now) const {
    if (controls & control_no_timer) return no_time;
    if (timer_mode() != timer::deadline) return timer_end_;
    if (tsc_deadline_ == 0) return no_time;
    const u64 tsc = now + tsc_offset_;
    if (tsc >= tsc_deadline_) return now;
    const u64 wait = tsc_deadline_ - tsc;
    return wait < no_time - now ? now + wait : no_time;
}

void LocalApic::run_timer(u64 now) {
    const u64 due = timer_due(now);
    if (due > now) return;
    if (timer_mode() == timer::deadline) {
        tsc_deadline_ = 0;
    } else if (const u64 period = ticks_to_ns(initial_count_); timer_mode() == timer::periodic && period) {
        timer_end_ += (now - due) / period * period + period;  // several that were missed are one
    } else {
        timer_end_ = no_time;
    }
    raise_local(lvt_timer);
}

void LocalApic::trigger_timer() { raise_local(lvt_timer); }

}  // namespace silicon::apic
