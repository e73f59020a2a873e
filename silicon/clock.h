// The time of one VM: the host's, or counted in executed instructions (deterministic). Everything that tells time in the
// VM asks this: TSC, deadlines, timers, devices.
#pragma once

#include <atomic>
#include <chrono>

#include "silicon/types.h"

namespace silicon {

class Clock {
  public:
    static constexpr u64 tsc_hz = 1'000'000'000;  // one TSC tick is a nanosecond of this clock

    // 0: the host's time. Kept in fixed point: while a guest runs the host's rounding and exception flags are the guest's.
    explicit Clock(double ns_per_instruction = 0)
        : pace_(static_cast<u64>(ns_per_instruction * (u64{1} << fraction_bits))), start_ns_(host_ns()) {}

    bool counts_instructions() const { return pace_ != 0; }
    u64 now_ns() const {
        if (counts_instructions())
            return skipped_ns_.load(std::memory_order_relaxed) +
                   static_cast<u64>(u128{instructions_.load(std::memory_order_relaxed)} * pace_ >> fraction_bits);
        return host_ns() - start_ns_;
    }
    void executed(u64 instructions) { instructions_.fetch_add(instructions, std::memory_order_relaxed); }
    // Where instructions are counted: who executes any, and time that passes because nobody does.
    void execute(bool begins) {
        if (counts_instructions()) executing_.fetch_add(begins ? 1 : -1, std::memory_order_seq_cst);
    }
    bool anybody_executes() const { return executing_.load(std::memory_order_seq_cst) > 0; }
    void advance_to(u64 ns) {
        if (const u64 now = now_ns(); ns > now) skipped_ns_.fetch_add(ns - now, std::memory_order_relaxed);
    }
    // How many instructions of a deterministic clock there are until `ns`; the same one from wherever it is asked.
    u64 instructions_until(u64 ns) const {
        if (ns <= now_ns()) return 0;
        const u128 counted = u128{ns - skipped_ns_.load(std::memory_order_relaxed)} << fraction_bits;
        return static_cast<u64>((counted + pace_ - 1) / pace_) - instructions_.load(std::memory_order_relaxed);
    }
    static u64 host_ns() {
        return static_cast<u64>(
            std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
    }

  private:
    static constexpr unsigned fraction_bits = 32;
    u64 pace_;  // nanoseconds an instruction, with so many bits behind the point
    u64 start_ns_;
    std::atomic<u64> instructions_{0}, skipped_ns_{0};
    std::atomic<int> executing_{0};
};

}  // namespace silicon
