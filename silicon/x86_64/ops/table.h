// What the generated tables are made of, and how handlers are chained.
#pragma once

#include <Zydis/Zydis.h>

#include <type_traits>

#include "silicon/x86_64/ops/operands.h"

namespace silicon::x86 {

// Which unit must be on for an instruction. Intel SDM vol. 3, "x87 FPU, MMX, and SSE" control bits in CR0 and CR4.
enum class Unit : u8 { None, X87, Mmx, Sse };

// What a row says beside its handler.
struct Row {
    const char* mnemonics;
    const char* operands;
    const char* family;
    Feature feature;
    u16 flags_read, flags_written, flags_undefined;  // RFLAGS bits; DF and IF too
    bool ends_block;   // the handler returns to the dispatcher
    bool privileged;   // needs CPL 0 or IOPL
    bool lockable, takes_rep;
    i8 only_mode;      // 64: only there; -64: only elsewhere; 0: everywhere
    bool oracle;       // a user-mode program on the host can judge it
    bool counted;      // a shift: which flags are written or undefined depends on the count
    Unit unit;
};

// One operand form at one width.
struct Op {
    u64 key;
    Handler handler;
    const Row* row;
};

// kind: 0 none, 1 general register, 2 memory, 3 immediate, 4 segment, 5 control, 6 debug register, 7 far pointer, 8 XMM,
// 9 MMX, 10 x87 register (these three without a size).
// size: 0 none, 1 to 6: 8 to 256 bits, 7 any other.
constexpr u64 operand_key(unsigned kind, unsigned size) { return kind | size << 4; }
constexpr u64 op_key(unsigned mnemonic, unsigned width, unsigned lock, unsigned rep, u64 op0, u64 op1, u64 op2, u64 op3) {
    return u64{mnemonic} << 48 | u64{width} << 40 | u64{lock} << 36 | u64{rep} << 32 | op0 << 21 | op1 << 14 | op2 << 7 | op3;
}

// Threaded code: each handler jumps to the next one of its block. What is not done yet stops the chain.
template <auto Body>
void going(Cpu& cpu, const Insn* in) {
    if constexpr (std::is_void_v<decltype(Body(cpu, *in))>) {
        Body(cpu, *in);
    } else {
        const Outcome outcome = Body(cpu, *in);
        if (outcome != Outcome::Next) [[unlikely]] return cpu.stopped(in, outcome);
    }
    return in[1].handler(cpu, in + 1);
}

// The last of a block: the body may set `rip`, the dispatcher goes on from there.
template <auto Body>
void ending(Cpu& cpu, const Insn* in) {
    cpu.jump(cpu.next_rip(*in));
    if constexpr (std::is_void_v<decltype(Body(cpu, *in))>) {
        Body(cpu, *in);
    } else {
        const Outcome outcome = Body(cpu, *in);
        if (outcome != Outcome::Next) [[unlikely]] return cpu.ended(in, outcome);
    }
}

}  // namespace silicon::x86
