// x87 trigonometry, logarithms and powers. Rows: spec/x86_64/x87_transcendental.toml.
#include "silicon/x86_64/ops/x87_quick.h"

namespace silicon::x86 {

#include "host_x87_transcendental.inc"

namespace {

// top = OP(top). FSIN and FCOS say in C2 that the operand is too large for them.
template <class Op, u16 Codes>
Outcome function(Cpu& cpu, const Insn& in) {
    const unsigned top = cpu.fx.top();
    if (!x87_usable(cpu.fx, 1u << top)) [[unlikely]] return whole_x87(cpu, in);
    if (!x87_make(cpu, top, Codes, [&](u8* to) { return Op::run(to, to); })) return whole_x87(cpu, in);
    note_x87(cpu, in);
    return Outcome::Next;
}
template <class Op>
SILICON_INLINE Outcome trigonometry(Cpu& cpu, const Insn& in) {
    return function<Op, x87::c1 | x87::c2>(cpu, in);
}
template <class Op>
SILICON_INLINE Outcome power(Cpu& cpu, const Insn& in) {
    return function<Op, x87::c1>(cpu, in);
}

// What is below the top = OP of the two, and the top is popped.
template <class Op>
Outcome fold(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top(), below = x87_place(fx, 1);
    if (!x87_usable(fx, 1u << top | 1u << below)) [[unlikely]] return whole_x87(cpu, in);
    if (!x87_make(cpu, below, x87::c1, [&](u8* to) { return Op::run(fx.st[top], to, to); })) return whole_x87(cpu, in);
    x87_pop(fx);
    note_x87(cpu, in);
    return Outcome::Next;
}

}  // namespace

#include "ops_x87_transcendental.inc"

}  // namespace silicon::x86
