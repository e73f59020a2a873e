// A program from its file into memory: .COM, and .EXE with its relocations.
#pragma once

#include <string>

#include "kernel.h"

namespace dos {

// Everything is in place: the next run is the program's first instruction. Raises BadProgram.
void load(Kernel& kernel, const std::string& image, const std::string& name, const std::string& tail);

}  // namespace dos
