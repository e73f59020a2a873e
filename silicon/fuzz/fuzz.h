// What the supervisor, the targets and the cases share.
#pragma once

#include <atomic>

#include "silicon/fuzz/chance.h"
#include "silicon/x86_64/exit_record.h"

namespace silicon::fuzz {

inline constexpr unsigned exit_kinds = static_cast<unsigned>(x86::ExitKind::Unnamed) + 1;

// In memory that the supervisor and its child both see: where the child is, and what it has done so far.
struct Board {
    std::atomic<u64> number;      // of the case that runs
    std::atomic<u64> started_ns;  // by the host's clock
    std::atomic<u64> cases, instructions, faults;
    std::atomic<u64> exits[exit_kinds];
    char said[2048];   // of a case that failed: which promise is broken
    char place[1024];  // where the guest was when its budget was spent
};

// One case. `budget` is all the instructions that its guest may run: less of it finds where a finding begins.
struct Case {
    u64 seed, number, budget;
    Board& board;
    Chance chance{seed, number};
};

struct Target {
    const char* name;
    const char* what;
    void (*run)(Case&);
    bool alone;  // nothing but the seed decides what happens, so that a finding comes again
};

void run_code(Case& it);     // code.cpp
void run_paging(Case& it);   // paging.cpp
void run_entry(Case& it);    // entry.cpp
void run_changes(Case& it);  // changes.cpp

// A promise is broken: ends the child.
[[noreturn]] void fail(Case& it, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace silicon::fuzz
