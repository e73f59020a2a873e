// Multiplication and division. Intel SDM vol. 2: "MUL", "IMUL", "DIV", "IDIV".
#pragma once

#include "silicon/x86_64/alu.h"

namespace silicon::x86::alu {

template <class T>
struct Wider;
template <>
struct Wider<u8> {
    using type = u16;
};
template <>
struct Wider<u16> {
    using type = u32;
};
template <>
struct Wider<u32> {
    using type = u64;
};
template <>
struct Wider<u64> {
    using type = u128;
};
template <class T>
using Twice = typename Wider<T>::type;

// Both halves; CF and OF say that the upper one is needed. SF, ZF, AF and PF are undefined.
template <class T>
struct Product {
    T low, high;
    LazyFlags flags;
};

template <class T>
constexpr Product<T> mul(T a, T b) {
    const Twice<T> wide = Twice<T>(Twice<T>(a) * b);
    const T low = T(wide), high = T(wide >> bits_of<T>);
    return {low, high, LazyFlags::of_cf_of<T>(low, high != 0, high != 0)};
}

template <class T>
constexpr Product<T> imul(T a, T b) {
    const i128 wide =
        static_cast<i128>(static_cast<i64>(LazyFlags::extend(a))) * static_cast<i64>(LazyFlags::extend(b));
    const T low = T(wide), high = T(static_cast<u128>(wide) >> bits_of<T>);
    const bool over = wide != static_cast<i64>(LazyFlags::extend(low));
    return {low, high, LazyFlags::of_cf_of<T>(low, over, over)};
}

template <class T>
struct Quotient {
    T quotient, remainder;
    bool ok;  // false: #DE
};

template <class T>
constexpr Quotient<T> div(T high, T low, T by) {
    if (high >= by) return {0, 0, false};  // also by == 0
    if constexpr (sizeof(T) == 8)
        if (high == 0) return {T(low / by), T(low % by), true};
    const Twice<T> wide = Twice<T>(Twice<T>(Twice<T>(high) << bits_of<T>) | low);
    return {T(wide / by), T(wide % by), true};
}

// On magnitudes, so that nothing overflows; the quotient is cut towards zero, the remainder has the dividend's sign.
template <class T>
constexpr Quotient<T> idiv(T high, T low, T by) {
    const bool negative = high & sign_bit<T>, opposite = negative != bool(by & sign_bit<T>);
    Twice<T> wide = Twice<T>(Twice<T>(Twice<T>(high) << bits_of<T>) | low);
    if (negative) wide = Twice<T>(-wide);
    const T divisor = by & sign_bit<T> ? T(-by) : by;
    const auto r = div<T>(T(wide >> bits_of<T>), T(wide), divisor);
    if (!r.ok || r.quotient > T(sign_bit<T> - !opposite)) return {0, 0, false};
    return {opposite ? T(-r.quotient) : r.quotient, negative ? T(-r.remainder) : r.remainder, true};
}

static_assert(mul<u8>(0x10, 0x10).high == 1 && mul<u8>(0x10, 0x10).flags.cf() && !mul<u8>(15, 17).flags.of());
static_assert(mul<u64>(~u64{0}, ~u64{0}).high == ~u64{0} - 1 && mul<u64>(~u64{0}, ~u64{0}).low == 1);
static_assert(imul<u8>(0xff, 0xff).low == 1 && !imul<u8>(0xff, 0xff).flags.cf() && imul<u8>(0x80, 0xff).flags.of());
static_assert(imul<u64>(u64{1} << 63, 2).high == ~u64{0} && imul<u64>(u64{1} << 63, 2).flags.cf());
static_assert(div<u8>(1, 0, 2).quotient == 0x80 && !div<u8>(2, 0, 2).ok && !div<u64>(0, 1, 0).ok);
static_assert(div<u64>(1, 0, 2).quotient == u64{1} << 63 && div<u64>(1, 7, ~u64{0}).remainder == 8);
static_assert(idiv<u8>(0xff, 0xf9, 2).quotient == 0xfd && idiv<u8>(0xff, 0xf9, 2).remainder == 0xff);
static_assert(idiv<u8>(0xff, 0x80, 1).quotient == 0x80 && !idiv<u8>(0xff, 0x80, 0xff).ok && !idiv<u8>(0, 0x80, 1).ok);
static_assert(!idiv<u64>(u64{1} << 63, 0, ~u64{0}).ok && !idiv<u32>(0, 5, 0).ok);

}  // namespace silicon::x86::alu
