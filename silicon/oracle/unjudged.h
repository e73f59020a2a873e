// What a difference does not mean: the manuals leave it to the processor, or Intel's and AMD's do not do it alike.
#pragma once

#include "silicon/oracle/program.h"

namespace silicon::oracle {

// A jump into the middle of something: what is executed there need not be of the table.
bool went_astray(const Program& program, const Result& soft);
// The difference at the instruction that stopped the program is of a kind named in unjudged.cpp.
bool is_left_open(const Program& program, const Result& host, const Result& soft);

}  // namespace silicon::oracle
