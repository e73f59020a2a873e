// One decoded instruction, ready to run: its handler and where its operands are.
#pragma once

#include "silicon/x86_64/state.h"

namespace silicon::x86 {

class Cpu;
struct Insn;
using Handler = void (*)(Cpu&, const Insn*);

// How a memory operand's address is made.
enum class Addressing : u8 {
    Flat64,   // base + index * scale + displacement, as it stands
    Flat32,   // the same, cut to 32 bits
    General,  // Cpu::general_linear: segment base, limit, rights, any address size
    Offset64, // the immediate holds the offset: MOV with a 64-bit address in the instruction
    RipFar,   // relative to RIP with a displacement that does not fit together with the instruction's place
};

struct Insn {
    Handler handler = nullptr;
    i64 imm = 0;              // sign-extended; of a relative branch: the distance from the next instruction
    i32 disp = 0;
    u8 base = slot_zero;      // slots of CpuState::gpr
    u8 index = slot_zero;
    u8 scale = 0;             // a shift: 0 to 3
    Seg seg = Seg::Ds;
    u8 reg[3] = {0, 0, 0};    // byte offsets into CpuState of the register operands, by operand position
    Addressing addressing = Addressing::Flat64;
    u8 length = 0;            // bytes
    u8 address_bytes = 8;     // 2, 4 or 8
    u16 offset = 0;           // from the start of the block, in bytes
};
static_assert(sizeof(Insn) == 32);

}  // namespace silicon::x86
