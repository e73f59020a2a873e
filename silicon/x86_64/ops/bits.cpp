// Single bits, searching and counting them, and what conditions set and move. Rows: spec/x86_64/bits.toml.
#include "silicon/x86_64/alu_bits.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

using alu::Result;

#define CHANGE(NAME, EXPRESSION)                                \
    struct NAME {                                               \
        template <class T>                                      \
        static SILICON_INLINE T of(T a, T bit) {                \
            return EXPRESSION;                                  \
        }                                                       \
    };
CHANGE(Bts, T(a | bit))
CHANGE(Btr, T(a & ~bit))
CHANGE(Btc, T(a ^ bit))
#undef CHANGE

// A register as the offset into a bit string in memory reaches beyond the operand: the operand moves by whole widths, up
// or down. An immediate stays inside. SDM vol. 1, "Bit Strings"; vol. 2, "BT".
template <class Dst, class Src>
inline constexpr bool reaches_beyond = Dst::memory && !std::is_same_v<Src, I<typename Src::type>>;

template <class T>
SILICON_INLINE Linear string_linear(Cpu& cpu, const Insn& in, T offset, Access access) {
    constexpr unsigned shift = std::countr_zero(bits_of<T>);
    const i64 step = (static_cast<i64>(LazyFlags::extend(offset)) >> shift) * i64{sizeof(T)};
    if (in.addressing == Addressing::Flat64) [[likely]] return {cpu.effective(in) + u64(step), true};
    if (in.addressing == Addressing::Flat32) return {u32(cpu.effective(in) + u64(step)), true};
    const u64 at = cpu.offset_of(in) + u64(step);
    return cpu.segment_linear(in.seg, in.address_bytes == 8 ? at : in.address_bytes == 4 ? u32(at) : u16(at), sizeof(T), access);
}

template <class Dst, class Src>
SILICON_INLINE Outcome bit_test(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const T offset = T(Src::load(cpu, in).value);
    Loaded<T> a{0, false};
    if constexpr (reaches_beyond<Dst, Src>) {
        const Linear at = string_linear<T>(cpu, in, offset, Access::Read);
        if (!at.ok) [[unlikely]] return Outcome::Stop;
        a = cpu.load<T>(at.value);
    } else {
        a = Dst::load(cpu, in);
    }
    if (!a.ok) [[unlikely]] return Outcome::Stop;
    cpu.lazy = cpu.lazy.with_cf(a.value >> (offset % bits_of<T>) & 1);
    return Outcome::Next;
}

// A bit of a string in memory: `Dst` for `update`, with the place where the offset leads.
template <class T, class Src>
struct InString {
    using type = T;
    static constexpr bool memory = true;
    static SILICON_INLINE Linear where(Cpu& cpu, const Insn& in) {
        return string_linear<T>(cpu, in, T(Src::load(cpu, in).value), Access::Write);
    }
};
template <class Dst, class Src>
using BitPlace = std::conditional_t<reaches_beyond<Dst, Src>, InString<typename Dst::type, Src>, Dst>;

template <class O, class T>
SILICON_INLINE Result<T> change_bit(T a, T offset, const LazyFlags& before) {
    const unsigned n = offset % bits_of<T>;
    return {O::template of<T>(a, T(T{1} << n)), before.with_cf(a >> n & 1)};
}

template <class O, class Dst, class Src>
SILICON_INLINE Outcome bit_change(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const T offset = T(Src::load(cpu, in).value);
    return update<BitPlace<Dst, Src>>(cpu, in, [&](T a) { return change_bit<O, T>(a, offset, cpu.lazy); });
}

template <class O, class Dst, class Src>
SILICON_INLINE Outcome bit_change_locked(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const T offset = T(Src::load(cpu, in).value);
    return update_locked<BitPlace<Dst, Src>>(cpu, in, [&](T a) { return change_bit<O, T>(a, offset, cpu.lazy); });
}

struct Bsf {
    template <class T>
    static SILICON_INLINE T of(T a) {
        return T(std::countr_zero(a));
    }
};
struct Bsr {
    template <class T>
    static SILICON_INLINE T of(T a) {
        return T(bits_of<T> - 1 - unsigned(std::countl_zero(a)));
    }
};

template <class O, class Dst, class Src>
SILICON_INLINE Outcome bit_scan(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const auto a = Src::load(cpu, in);
    if (!a.ok) [[unlikely]] return Outcome::Stop;
    if (a.value != 0) Dst::store(cpu, in, O::template of<T>(a.value));
    cpu.lazy = LazyFlags::of_logic<T>(a.value);
    return Outcome::Next;
}

struct Tzcnt {
    template <class T>
    static SILICON_INLINE Result<T> of(T a) {
        return alu::tzcnt<T>(a);
    }
};
struct Lzcnt {
    template <class T>
    static SILICON_INLINE Result<T> of(T a) {
        return alu::lzcnt<T>(a);
    }
};
struct Popcnt {
    template <class T>
    static SILICON_INLINE Result<T> of(T a) {
        return alu::popcnt<T>(a);
    }
};

template <class O, class Dst, class Src>
SILICON_INLINE Outcome count(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const auto a = Src::load(cpu, in);
    if (!a.ok) [[unlikely]] return Outcome::Stop;
    const auto r = O::template of<T>(a.value);
    Dst::store(cpu, in, r.value);
    cpu.lazy = r.flags;
    return Outcome::Next;
}

template <Condition C, class Dst>
SILICON_INLINE Outcome set_on(Cpu& cpu, const Insn& in) {
    return Dst::store(cpu, in, u8{holds<C>(cpu.lazy)});
}

// The source is read whether the condition holds or not, and a 32-bit destination is zero-extended in any case.
template <Condition C, class Dst, class Src>
SILICON_INLINE Outcome move_on(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, holds<C>(cpu.lazy) ? b.value : Dst::load(cpu, in).value);
}

template <class Dst>
SILICON_INLINE Outcome swap_bytes(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    return Dst::store(cpu, in, sizeof(T) == 2 ? T{0} : alu::byte_swap<T>(Dst::load(cpu, in).value));
}

template <class Dst, class Src>
SILICON_INLINE Outcome move_swapped(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, alu::byte_swap<T>(b.value));
}

}  // namespace

#include "ops_bits.inc"

}  // namespace silicon::x86
