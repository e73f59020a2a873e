// Two ways through a floating-point instruction: the common one, with all exceptions masked, asks nothing behind the operation
// and needs no stack frame; the careful one stands apart.
#pragma once

#include "silicon/x86_64/ops/lanes.h"

namespace silicon::x86 {

template <auto Careful>
SILICON_COLD Outcome carefully(Cpu& cpu, const Insn& in) {
    return Careful(cpu, in);
}

template <auto Common, auto Careful>
SILICON_INLINE Outcome either_way(Cpu& cpu, const Insn& in) {
    return cpu.float_traps() ? carefully<Careful>(cpu, in) : Common(cpu, in);
}

}  // namespace silicon::x86
