// A program under construction.
#pragma once

#include "silicon/oracle/generate.h"

namespace silicon::oracle {

struct Generator::Draft {
    Program program;
    unsigned slot = 0;
    unsigned wanted = 1;
    u32 pinned = 0;                                  // registers whose first value something relies on
    bool wants_target = false, wants_flags = false;  // something takes an address, or flags, from the stack
    bool is_over = false;                            // nothing may read what was saved
    bool wants_operand = false;                      // something loads state, of which few values are valid
};

}  // namespace silicon::oracle
