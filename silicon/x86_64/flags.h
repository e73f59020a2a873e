// EFLAGS: the bits by name, and the six arithmetic flags kept the cheap way.
// Intel SDM vol. 1, "EFLAGS Register".
#pragma once

#include <bit>
#include <type_traits>

#include "silicon/types.h"

namespace silicon::x86 {

namespace flag {
inline constexpr u64 cf = 1 << 0, always = 1 << 1, pf = 1 << 2, af = 1 << 4, zf = 1 << 6, sf = 1 << 7, tf = 1 << 8;
inline constexpr u64 intf = 1 << 9, df = 1 << 10, of = 1 << 11, iopl = 3 << 12, nt = 1 << 14, rf = 1 << 16;
inline constexpr u64 vm = 1 << 17, ac = 1 << 18, vif = 1 << 19, vip = 1 << 20, id = 1 << 21;
inline constexpr u64 arithmetic = cf | pf | af | zf | sf | of;
inline constexpr u64 all = arithmetic | tf | intf | df | iopl | nt | rf | vm | ac | vif | vip | id;
}  // namespace flag

template <class T>
inline constexpr unsigned bits_of = sizeof(T) * 8;
template <class T>
inline constexpr T sign_bit = T(T{1} << (bits_of<T> - 1));

// The flags of a result, not yet worked out: the result (sign-extended) gives ZF, SF and PF, the carries the rest.
struct LazyFlags {
    u64 result = 1;
    u64 rest = 0;

    constexpr LazyFlags() = default;
    constexpr LazyFlags(u64 result, u64 rest) : result(result), rest(rest) {}
    constexpr LazyFlags(const LazyFlags& other) : result(other.result), rest(other.rest) {}
    // Member by member: as one 16-byte copy it would go through the stack, and wait for the two stores there.
    constexpr LazyFlags& operator=(const LazyFlags& other) {
        result = other.result;
        rest = other.rest;
        return *this;
    }

    // Bits of `rest`.
    static constexpr unsigned cf_bit = 63;  // carry out of the top bit
    static constexpr unsigned in_bit = 62;  // carry into the top bit: OF is the two unlike
    static constexpr u64 af = 1 << 3;       // carry out of bit 3
    static constexpr u64 sf_flip = 1 << 4;  // SF is not the result's sign: flags that no arithmetic gives
    static constexpr unsigned parity_shift = 8;

    constexpr bool cf() const { return rest >> cf_bit; }
    constexpr bool zf() const { return result == 0; }
    constexpr bool sf() const { return (result >> 63 ^ rest >> 4) & 1; }
    constexpr bool of() const { return (rest >> cf_bit ^ rest >> in_bit) & 1; }
    constexpr bool af_set() const { return rest & af; }
    constexpr bool pf() const { return !(std::popcount(u8(result ^ rest >> parity_shift)) & 1); }

    // The architectural bits, without the others of EFLAGS.
    constexpr u64 bits() const {
        return u64{cf()} | u64{pf()} << 2 | u64{af_set()} << 4 | u64{zf()} << 6 | u64{sf()} << 7 | u64{of()} << 11;
    }
    static constexpr LazyFlags of_bits(u64 flags) {
        const bool c = flags & flag::cf, z = flags & flag::zf, s = flags & flag::sf, o = flags & flag::of;
        LazyFlags f;
        f.result = z ? 0 : s ? u64{1} << 63 : 0x100;  // the low byte is 0: even parity
        f.rest = u64{c} << cf_bit | u64(c != o) << in_bit | (flags & flag::af ? af : 0);
        if (z && s) f.rest |= sf_flip;
        if (!(flags & flag::pf)) f.rest |= u64{1} << parity_shift;
        return f;
    }
    constexpr LazyFlags with_cf(bool c) const {
        LazyFlags f = *this;
        const bool o = of();
        f.rest = (rest & ~(u64{3} << in_bit)) | u64{c} << cf_bit | u64(c != o) << in_bit;
        return f;
    }

    // `carries` has in bit i the carry (or borrow) out of bit i.
    template <class T>
    static constexpr LazyFlags of_carries(T result, T carries) {
        const u64 top = u64{carries} << (64 - bits_of<T>);
        return {extend(result), (top & u64{3} << in_bit) | (u64{carries} & af)};
    }
    template <class T>
    static constexpr LazyFlags of_logic(T result) {
        return {extend(result), 0};
    }
    template <class T>
    static constexpr LazyFlags of_cf_of(T result, bool c, bool o) {
        return {extend(result), u64{c} << cf_bit | u64(c != o) << in_bit};
    }

    template <class T>
    static constexpr u64 extend(T value) {
        return static_cast<u64>(static_cast<i64>(static_cast<std::make_signed_t<T>>(value)));
    }
};

static_assert([] {
    for (u64 bits = 0; bits < 0x1000; ++bits)
        if (LazyFlags::of_bits(bits).bits() != (bits & flag::arithmetic)) return false;
    return true;
}());

// The sixteen conditions, by their number in the opcode. Intel SDM vol. 1, "EFLAGS Condition Codes".
enum class Condition : u8 { O, NO, B, NB, Z, NZ, BE, NBE, S, NS, P, NP, L, NL, LE, NLE };

template <Condition C>
SILICON_INLINE constexpr bool holds(const LazyFlags& f) {
    constexpr auto even = static_cast<Condition>(static_cast<u8>(C) & ~1);
    bool yes = false;
    if constexpr (even == Condition::O) yes = f.of();
    if constexpr (even == Condition::B) yes = f.cf();
    if constexpr (even == Condition::Z) yes = f.zf();
    if constexpr (even == Condition::BE) yes = f.cf() || f.zf();
    if constexpr (even == Condition::S) yes = f.sf();
    if constexpr (even == Condition::P) yes = f.pf();
    if constexpr (even == Condition::L) yes = f.sf() != f.of();
    if constexpr (even == Condition::LE) yes = f.zf() || f.sf() != f.of();
    return static_cast<u8>(C) & 1 ? !yes : yes;
}

}  // namespace silicon::x86
