// x87 arithmetic. Rows: spec/x86_64/x87_arithmetic.toml.
#include "silicon/x86_64/ops/x87_quick.h"

namespace silicon::x86 {

#include "host_x87_arithmetic.inc"

namespace {

// dst = OP(dst, src)
template <class Op, bool Pops>
Outcome combine(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned dst = x87_place(fx, in.reg[0]), src = x87_place(fx, in.reg[1]);
    if (!x87_usable(fx, 1u << dst | 1u << src)) [[unlikely]] return whole_x87(cpu, in);
    if (!x87_make(cpu, dst, x87::c1, [&](u8* to) { return Op::run(to, fx.st[src], to); })) return whole_x87(cpu, in);
    if (Pops) x87_pop(fx);
    note_x87(cpu, in);
    return Outcome::Next;
}
template <class Op, class, class>
SILICON_INLINE Outcome combine_kept(Cpu& cpu, const Insn& in) {
    return combine<Op, false>(cpu, in);
}
template <class Op, class, class>
SILICON_INLINE Outcome combine_popped(Cpu& cpu, const Insn& in) {
    return combine<Op, true>(cpu, in);
}

// top = OP(top)
template <class Op>
Outcome change(Cpu& cpu, const Insn& in) {
    const unsigned top = cpu.fx.top();
    if (!x87_usable(cpu.fx, 1u << top)) [[unlikely]] return whole_x87(cpu, in);
    if (!x87_make(cpu, top, x87::c1, [&](u8* to) { return Op::run(to, to); })) return whole_x87(cpu, in);
    note_x87(cpu, in);
    return Outcome::Next;
}

// top = OP(top, what is below it)
template <class Op, u16 Codes>
SILICON_INLINE Outcome change_by(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top(), below = x87_place(fx, 1);
    if (!x87_usable(fx, 1u << top | 1u << below)) [[unlikely]] return whole_x87(cpu, in);
    if (!x87_make(cpu, top, Codes, [&](u8* to) { return Op::run(to, fx.st[below], to); })) return whole_x87(cpu, in);
    note_x87(cpu, in);
    return Outcome::Next;
}
// The quotient's bits are in the condition codes, which stay as they were if there is none.
template <class Op>
Outcome remainder(Cpu& cpu, const Insn& in) {
    const FxState& fx = cpu.fx;
    if (!x87_is_normal(fx.st[fx.top()]) || !x87_is_normal(fx.st[x87_place(fx, 1)])) return whole_x87(cpu, in);
    return change_by<Op, x87::condition>(cpu, in);
}
template <class Op>
SILICON_INLINE Outcome scale(Cpu& cpu, const Insn& in) {
    return change_by<Op, x87::c1>(cpu, in);
}

// FABS and FCHS look at no bit but the sign.
template <u8 Keep, u8 Flip>
SILICON_INLINE Outcome change_sign(Cpu& cpu, const Insn& in) {
    FxState& fx = cpu.fx;
    const unsigned top = fx.top();
    if (!x87_usable(fx, 1u << top)) [[unlikely]] return whole_x87(cpu, in);
    fx.st[top][9] = u8((fx.st[top][9] & Keep) ^ Flip);
    x87_settle(fx, 0);
    note_x87(cpu, in);
    return Outcome::Next;
}

}  // namespace

#include "ops_x87_arithmetic.inc"

}  // namespace silicon::x86
