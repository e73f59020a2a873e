// The quick way of x87 handlers: the operands alone go through the host's unit, and only where that is all there is to it.
//
// Where a register is empty that must not be (or the other way round), where an exception is pending, and where one comes
// up that is not masked, the instruction takes the whole way: nothing has been committed by then.
#pragma once

#include "silicon/x86_64/ops/host_x87_quick.h"
#include "silicon/x86_64/ops/table.h"
#include "silicon/x86_64/x87.h"

namespace silicon::x86 {

SILICON_INLINE unsigned x87_place(const FxState& fx, unsigned from_top) { return (fx.top() + from_top) & 7; }

// Nothing is pending, and the registers at these places (as bits) hold numbers.
SILICON_INLINE bool x87_usable(const FxState& fx, unsigned places) {
    return !(fx.fsw & x87::summary) && (fx.ftw & places) == places;
}
// Nothing is pending, and there is room for another number on the stack.
SILICON_INLINE bool x87_room(const FxState& fx) { return !(fx.fsw & x87::summary) && !(fx.ftw >> x87_place(fx, 7) & 1); }

// Whether some exception in the host's status word is not masked. Those that stood there before are: none is pending.
SILICON_INLINE bool x87_trapped(const FxState& fx, u16 status) { return status & ~fx.fcw & x87::exceptions; }

// A tiny result that is exact is an underflow only where that is not masked: the host, which masks it, does not say so.
// Intel SDM vol. 1, "Numeric Underflow Exception (#U)".
SILICON_INLINE bool x87_underflows(const FxState& fx, const u8* result) {
    return !(fx.fcw & x87::ue) && !(load_host<u16>(result + 8) & 0x7fff) && load_host<u64>(result);
}

// Takes exceptions and condition codes (`codes` of them) over.
SILICON_INLINE void x87_settle(FxState& fx, u16 status, u16 codes = x87::c1) {
    fx.fsw = u16((fx.fsw & ~codes) | (status & (codes | x87::exceptions)));
}
SILICON_INLINE void x87_set_top(FxState& fx, unsigned top) { fx.fsw = u16((fx.fsw & ~x87::top) | (top & 7) << x87::top_shift); }
SILICON_INLINE void x87_pop(FxState& fx) {
    const unsigned top = fx.top();
    fx.ftw &= u8(~(1u << top));
    x87_set_top(fx, top + 1);
}
SILICON_INLINE void x87_push(FxState& fx) {
    const unsigned top = (fx.top() + 7) & 7;
    fx.ftw |= u8(1u << top);
    x87_set_top(fx, top);
}

// `run(place)` makes a number in the register at `place`, which gets its old content back after an exception that is not
// masked: false.
template <class Run>
SILICON_INLINE bool x87_make(Cpu& cpu, unsigned place, u16 codes, Run run) {
    FxState& fx = cpu.fx;
    u8* to = fx.st[place];
    const u64 significand = load_host<u64>(to);
    const u16 sign_exponent = load_host<u16>(to + 8);
    cpu.ready_x87();
    const u16 status = run(to);
    if (x87_trapped(fx, status) || x87_underflows(fx, to)) [[unlikely]] {
        store_host<u64>(to, significand);
        store_host<u16>(to + 8, sign_exponent);
        return false;
    }
    x87_settle(fx, status, codes);
    return true;
}

// Any instruction on registers, the whole way.
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

// top = OP(top, number in memory)
template <class Op, class Src>
Outcome with_number(Cpu& cpu, const Insn& in) {
    const unsigned top = cpu.fx.top();
    if (!x87_usable(cpu.fx, 1u << top)) [[unlikely]] return load_number<Src>(cpu, in);
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    if (!x87_make(cpu, top, x87::c1, [&](u8* to) { return Op::run(to, b.value, to); })) return whole_x87_load(cpu, in, &b.value);
    note_x87_operand(cpu, in);
    return Outcome::Next;
}

}  // namespace silicon::x86
