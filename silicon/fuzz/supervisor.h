// Runs cases in a child, so that one that crashes, hangs or breaks a promise is a finding, and the search goes on.
#pragma once

#include <string>
#include <vector>

#include "silicon/fuzz/fuzz.h"

namespace silicon::fuzz {

struct Options {
    u64 seed = 1, first = 0, count = 0, budget = 20'000;
    double seconds = 0;
    unsigned findings = 1;  // stop after so many
    unsigned hang_seconds = 30;
    bool one = false;  // only the case `first`, in this process
    std::vector<const Target*> targets;
};

// 0: nothing found, 1: something. SIGINT ends it with what it has.
int supervise(const Options& options);
int run_alone(const Options& options);

}  // namespace silicon::fuzz
