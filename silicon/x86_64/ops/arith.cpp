// Addition, subtraction, logic, and the compare-and-swap kind. Rows: spec/x86_64/arith.toml.
#include "silicon/x86_64/alu_shift.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

using alu::Result;

#define BINARY(NAME, EXPRESSION)                                                     \
    struct NAME {                                                                    \
        template <class T>                                                           \
        static SILICON_INLINE Result<T> of(T a, T b, const LazyFlags& before) {      \
            (void)before;                                                            \
            return EXPRESSION;                                                       \
        }                                                                            \
    };
BINARY(Add, alu::add<T>(a, b))
BINARY(Adc, alu::add<T>(a, b, before.cf()))
BINARY(Sub, alu::sub<T>(a, b))
BINARY(Sbb, alu::sub<T>(a, b, before.cf()))
BINARY(And, (Result<T>{T(a & b), LazyFlags::of_logic<T>(T(a & b))}))
BINARY(Or, (Result<T>{T(a | b), LazyFlags::of_logic<T>(T(a | b))}))
BINARY(Xor, (Result<T>{T(a ^ b), LazyFlags::of_logic<T>(T(a ^ b))}))
#undef BINARY

#define UNARY(NAME, EXPRESSION)                                                      \
    struct NAME {                                                                    \
        template <class T>                                                           \
        static SILICON_INLINE Result<T> of(T a, const LazyFlags& before) {           \
            (void)before;                                                            \
            return EXPRESSION;                                                       \
        }                                                                            \
    };
UNARY(Inc, alu::inc<T>(a, before))
UNARY(Dec, alu::dec<T>(a, before))
UNARY(Neg, alu::sub<T>(0, a))
UNARY(Not, (Result<T>{T(~a), before}))
#undef UNARY

template <class O, class Dst, class Src>
SILICON_INLINE Outcome binary(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    return update<Dst>(cpu, in, [&](auto a) { return O::of(a, b.value, cpu.lazy); });
}

template <class O, class Dst, class Src>
SILICON_INLINE Outcome binary_locked(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    return update_locked<Dst>(cpu, in, [&](auto a) { return O::of(a, b.value, cpu.lazy); });
}

// ADCX carries in CF alone, ADOX in OF alone.
template <bool InOverflow, class Dst, class Src>
SILICON_INLINE Outcome add_along(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const bool c = cpu.lazy.cf(), o = cpu.lazy.of();
    const auto r = alu::add<typename Dst::type>(Dst::load(cpu, in).value, b.value, InOverflow ? o : c);
    cpu.lazy = InOverflow ? alu::with_cf_of(cpu.lazy, c, r.flags.cf()) : cpu.lazy.with_cf(r.flags.cf());
    return Dst::store(cpu, in, r.value);
}

template <class O, class A, class B>
SILICON_INLINE Outcome compare(Cpu& cpu, const Insn& in) {
    const auto a = A::load(cpu, in);
    if (!a.ok) [[unlikely]] return Outcome::Stop;
    const auto b = B::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    cpu.lazy = O::of(a.value, b.value, cpu.lazy).flags;
    return Outcome::Next;
}

template <class O, class Dst>
SILICON_INLINE Outcome unary(Cpu& cpu, const Insn& in) {
    return update<Dst>(cpu, in, [&](auto a) { return O::of(a, cpu.lazy); });
}

template <class O, class Dst>
SILICON_INLINE Outcome unary_locked(Cpu& cpu, const Insn& in) {
    return update_locked<Dst>(cpu, in, [&](auto a) { return O::of(a, cpu.lazy); });
}

// The destination is written last: XADD of a register with itself doubles it.
template <class Dst, class Src>
SILICON_INLINE Outcome exchange_add(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const T b = Src::load(cpu, in).value;
    if constexpr (!Dst::memory) {
        const T a = Dst::load(cpu, in).value;
        const auto r = alu::add<T>(a, b);
        Src::store(cpu, in, a);
        Dst::store(cpu, in, r.value);
        cpu.lazy = r.flags;
        return Outcome::Next;
    } else {
        T old = 0;
        const Outcome out = update<Dst>(cpu, in, [&](T a) { return alu::add<T>(old = a, b); });
        if (out != Outcome::Stop) Src::store(cpu, in, old);
        return out;
    }
}

template <class Dst, class Src>
SILICON_INLINE Outcome exchange_add_locked(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const T b = Src::load(cpu, in).value;
    T old = 0;
    const Outcome out = update_locked<Dst>(cpu, in, [&](T a) { return alu::add<T>(old = a, b); });
    if (out != Outcome::Stop) Src::store(cpu, in, old);
    return out;
}

// Memory is always written, with or without LOCK: the old value where the comparison fails. A register is left alone then,
// its upper half too.
template <class Dst, class Src>
SILICON_INLINE Outcome compare_exchange_of(Cpu& cpu, const Insn& in, auto how) {
    using T = typename Dst::type;
    const T accumulator = cpu.get<T>(rax * 8), replacement = Src::load(cpu, in).value;
    T old = 0;
    const Outcome out = how([&](T a) {
        old = a;
        return Result<T>{a == accumulator ? replacement : a, alu::sub<T>(accumulator, a).flags};
    });
    if (out != Outcome::Stop && old != accumulator) cpu.set_gpr<T>(rax, old);
    return out;
}

template <class Dst, class Src>
SILICON_INLINE Outcome compare_exchange(Cpu& cpu, const Insn& in) {
    if constexpr (!Dst::memory) {
        using T = typename Dst::type;
        const T accumulator = cpu.get<T>(rax * 8), old = Dst::load(cpu, in).value;
        if (old == accumulator)
            Dst::store(cpu, in, Src::load(cpu, in).value);
        else
            cpu.set_gpr<T>(rax, old);
        cpu.lazy = alu::sub<T>(accumulator, old).flags;
        return Outcome::Next;
    }
    return compare_exchange_of<Dst, Src>(cpu, in, [&](auto compute) { return update<Dst>(cpu, in, compute); });
}

template <class Dst, class Src>
SILICON_INLINE Outcome compare_exchange_locked(Cpu& cpu, const Insn& in) {
    return compare_exchange_of<Dst, Src>(cpu, in, [&](auto compute) { return update_locked<Dst>(cpu, in, compute); });
}

// CMPXCHG8B and CMPXCHG16B, T half of the operand. Plain memory is swapped atomically with or without LOCK; what is staged
// (devices, page edges) goes out in two pieces.
template <class T, class Dst>
SILICON_INLINE Outcome compare_exchange_pair(Cpu& cpu, const Insn& in) {
    using Whole = std::conditional_t<sizeof(T) == 8, u128, u64>;
    constexpr unsigned half = bits_of<T>;
    const Linear at = cpu.linear<Whole>(in, Access::Write);
    if (!at.ok) return Outcome::Stop;
    if (sizeof(T) == 8 && at.value % 16 != 0) return cpu.raise(vector_gp, 0);
    u8* place = cpu.place_locked<Whole>(at.value);
    if (!place) return Outcome::Stop;
    const Whole expected = Whole{cpu.get<T>(rdx * 8)} << half | cpu.get<T>(rax * 8);
    const Whole replacement = Whole{cpu.get<T>(rcx * 8)} << half | cpu.get<T>(rbx * 8);
    Whole old = expected;
    const bool same = pair_swap(place, old, replacement);
    const Outcome out = cpu.commit_locked(place);
    if (out == Outcome::Stop) return out;
    if (!same) {
        cpu.set_gpr<T>(rax, T(old));
        cpu.set_gpr<T>(rdx, T(old >> half));
    }
    const u64 flags = cpu.lazy.bits() & ~flag::zf;
    cpu.lazy = LazyFlags::of_bits(flags | (same ? flag::zf : 0));
    return out;
}

template <class T, class Dst>
SILICON_INLINE Outcome compare_exchange_pair_locked(Cpu& cpu, const Insn& in) {
    return compare_exchange_pair<T, Dst>(cpu, in);
}

}  // namespace

#include "ops_arith.inc"

}  // namespace silicon::x86
