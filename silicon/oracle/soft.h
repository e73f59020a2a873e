// The software CPU, set up as the child of the host side is: user mode, the same pages at the same linear addresses.
#pragma once

#include <functional>
#include <memory>

#include "silicon/oracle/layout.h"
#include "silicon/x86_64/cpu.h"

namespace silicon::oracle {

class Soft {
  public:
    explicit Soft(u8* code);  // the code area, shared with the host side
    Soft(const Soft&) = delete;
    Soft& operator=(const Soft&) = delete;

    void set_pattern(const Pattern& pattern);
    // Runs to the end, to an exception, or until `budget` instructions are done (Ending::timed_out).
    void run(const Job& job, Result& result);
    // Whether a run of the job, one instruction at a time, comes to an address that `is_own` denies before its end.
    bool strays(const Job& job, const std::function<bool(u64)>& is_own);
    bool has(x86::Feature feature) const { return cpu_->cpuid.has(feature); }

    static constexpr u64 budget = 20'000;

  private:
    struct Pages;
    void build_tables();
    void map_page(u64 linear, u64 gpa, u64 rights);
    void prepare(const Job& job);
    u64 linear_rip() const;
    void set_state(const Job& job);
    void set_segments(unsigned bits);
    void read_ending(const Job& job, const x86::ExitRecord& exit, Result& result);

    struct Free {
        void operator()(u8* memory) const;
    };
    std::unique_ptr<u8, Free> memory_;  // tables, end page, data pages
    Pattern pattern_{};
    u64 next_table_;
    GuestMemory guest_;
    Clock clock_;
    std::unique_ptr<x86::Cpu> cpu_;
};

}  // namespace silicon::oracle
