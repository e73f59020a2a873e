// Multiplication, division, and widening the accumulator for them. Rows: spec/x86_64/muldiv.toml.
#include "silicon/x86_64/alu_muldiv.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

struct Mul {
    template <class T>
    static SILICON_INLINE alu::Product<T> of(T a, T b) {
        return alu::mul<T>(a, b);
    }
};
struct Imul {
    template <class T>
    static SILICON_INLINE alu::Product<T> of(T a, T b) {
        return alu::imul<T>(a, b);
    }
};
struct Div {
    template <class T>
    static SILICON_INLINE alu::Quotient<T> of(T high, T low, T by) {
        return alu::div<T>(high, low, by);
    }
};
struct Idiv {
    template <class T>
    static SILICON_INLINE alu::Quotient<T> of(T high, T low, T by) {
        return alu::idiv<T>(high, low, by);
    }
};

// The upper half of the accumulator: AH of AX, else DX, EDX, RDX.
template <class T>
inline constexpr u8 upper_half = sizeof(T) == 1 ? rax * 8 + 1 : rdx * 8;

template <class O, class Src>
SILICON_INLINE Outcome multiply(Cpu& cpu, const Insn& in) {
    using T = typename Src::type;
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const auto r = O::template of<T>(cpu.get<T>(rax * 8), b.value);
    cpu.set<T>(rax * 8, r.low);
    cpu.set<T>(upper_half<T>, r.high);
    cpu.lazy = r.flags;
    return Outcome::Next;
}

template <class A, class B>
SILICON_INLINE Outcome multiply_to(Cpu& cpu, const Insn& in, typename A::type b) {
    using T = typename A::type;
    const auto a = B::load(cpu, in);
    if (!a.ok) [[unlikely]] return Outcome::Stop;
    const auto r = alu::imul<T>(a.value, b);
    cpu.set<T>(in.reg[0], r.low);
    cpu.lazy = r.flags;
    return Outcome::Next;
}

template <class Dst, class Src>
SILICON_INLINE Outcome multiply_two(Cpu& cpu, const Insn& in) {
    return multiply_to<Dst, Src>(cpu, in, Dst::load(cpu, in).value);
}

template <class Dst, class Src, class Factor>
SILICON_INLINE Outcome multiply_three(Cpu& cpu, const Insn& in) {
    return multiply_to<Dst, Src>(cpu, in, typename Dst::type(Factor::load(cpu, in).value));
}

template <class O, class Src>
SILICON_INLINE Outcome divide(Cpu& cpu, const Insn& in) {
    using T = typename Src::type;
    const auto by = Src::load(cpu, in);
    if (!by.ok) [[unlikely]] return Outcome::Stop;
    const auto r = O::template of<T>(cpu.get<T>(upper_half<T>), cpu.get<T>(rax * 8), by.value);
    if (!r.ok) [[unlikely]] return cpu.raise(vector_de);
    cpu.set<T>(rax * 8, r.quotient);
    cpu.set<T>(upper_half<T>, r.remainder);
    return Outcome::Next;
}

template <class From, class To>
SILICON_INLINE void widen(Cpu& cpu, const Insn&) {
    cpu.set_gpr<To>(rax, To(LazyFlags::extend(cpu.get<From>(rax * 8))));
}

template <class T>
SILICON_INLINE void spread(Cpu& cpu, const Insn&) {
    cpu.set_gpr<T>(rdx, cpu.get<T>(rax * 8) & sign_bit<T> ? T(~T{0}) : T{0});
}

}  // namespace

#include "ops_muldiv.inc"

}  // namespace silicon::x86
