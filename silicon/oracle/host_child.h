// What the child of the oracle's host side does. Compiled without stack protector: its signal handler starts with FS =
// 0.
#pragma once

#include "silicon/oracle/layout.h"

namespace silicon::oracle {

struct ChildShared {
    Pattern pattern;
    u32 pattern_stamp = 0;
    volatile bool has_16_bits = false;
    volatile u32 current = 0;  // the job that runs
    Job jobs[batch_size];
};

[[noreturn]] void child_main(ChildShared& shared, int code_file, int commands, int answers);
bool child_has_fs_base();

}  // namespace silicon::oracle
