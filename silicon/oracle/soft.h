// The software CPU, set up as the child of the host side is: user mode, the same pages at the same linear addresses.
#pragma once

#include <functional>
#include <memory>

#include "silicon/oracle/space.h"
#include "silicon/x86_64/cpu.h"

namespace silicon::oracle {

class Soft {
  public:
    explicit Soft(u8* code);  // the code area, shared with the judge
    Soft(const Soft&) = delete;
    Soft& operator=(const Soft&) = delete;

    void set_pattern(const Pattern& pattern) { space_.set_pattern(pattern); }
    // Runs to the end, to an exception, or until `budget` instructions are done (Ending::timed_out).
    void run(const Job& job, Result& result);
    // Whether a run of the job, one instruction at a time, comes to an address that `is_own` denies before its end.
    bool strays(const Job& job, const std::function<bool(u64)>& is_own);
    bool has(x86::Feature feature) const { return cpu_->cpuid.has(feature); }

    static constexpr u64 budget = 20'000;

  private:
    void prepare(const Job& job);
    u64 linear_rip() const;
    void read_ending(const Job& job, const x86::ExitRecord& exit, Result& result);

    Space space_;
    GuestMemory guest_;
    Clock clock_;
    std::unique_ptr<x86::Cpu> cpu_;
};

}  // namespace silicon::oracle
