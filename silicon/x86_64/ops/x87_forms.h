// The handlers that any x87 instruction can have: the whole state goes through the host's unit.
#pragma once

#include "silicon/x86_64/ops/table.h"
#include "silicon/x86_64/x87.h"

namespace silicon::x86 {

// Operands are registers, whichever the opcode says.
template <class...>
Outcome on_registers(Cpu& cpu, const Insn& in) {
    return whole_x87(cpu, in);
}

template <class Src>
Outcome load_number(Cpu& cpu, const Insn& in) {
    if (x87_raises(cpu)) return cpu.raise(vector_mf);
    const auto operand = Src::load(cpu, in);
    if (!operand.ok) return Outcome::Stop;
    return whole_x87_load(cpu, in, &operand.value);
}

template <class Dst>
Outcome store_number(Cpu& cpu, const Insn& in) {
    if (x87_raises(cpu)) return cpu.raise(vector_mf);
    return whole_x87_store<Dst>(cpu, in);
}

}  // namespace silicon::x86
