// Counting, searching, gathering and scattering bits. Intel SDM vol. 2, each instruction's "Operation".
#pragma once

#include "silicon/x86_64/alu.h"

namespace silicon::x86::alu {

template <class T>
constexpr Result<T> tzcnt(T a) {
    const T n = T(std::countr_zero(a));
    return {n, LazyFlags::of_cf_of<T>(n, a == 0, false)};
}

template <class T>
constexpr Result<T> lzcnt(T a) {
    const T n = T(std::countl_zero(a));
    return {n, LazyFlags::of_cf_of<T>(n, a == 0, false)};
}

// All flags but ZF are cleared, PF too.
template <class T>
constexpr Result<T> popcnt(T a) {
    return {T(std::popcount(a)), LazyFlags{a ? u64{0x100} : 0, u64{1} << LazyFlags::parity_shift}};
}

template <class T>
constexpr T byte_swap(T a) {
    if constexpr (sizeof(T) == 2) return T(a << 8 | a >> 8);
    if constexpr (sizeof(T) == 4) return __builtin_bswap32(a);
    if constexpr (sizeof(T) == 8) return __builtin_bswap64(a);
}

template <class T>
constexpr Result<T> andn(T a, T b) {
    const T value = T(~a & b);
    return {value, LazyFlags::of_logic<T>(value)};
}

// `control`: first bit in 7:0, number of bits in 15:8. SF is undefined.
template <class T>
constexpr Result<T> bextr(T a, T control) {
    const unsigned start = control & 0xff, length = control >> 8 & 0xff;
    const T moved = start < bits_of<T> ? T(a >> start) : T{0};
    const T value = length < bits_of<T> ? T(moved & T((T{1} << length) - 1)) : moved;
    return {value, LazyFlags::of_logic<T>(value)};
}

template <class T>
constexpr Result<T> blsi(T a) {
    const T value = T(a & T(-a));
    return {value, LazyFlags::of_cf_of<T>(value, a != 0, false)};
}
template <class T>
constexpr Result<T> blsmsk(T a) {
    const T value = T(a ^ T(a - 1));
    return {value, LazyFlags::of_cf_of<T>(value, a == 0, false)};
}
template <class T>
constexpr Result<T> blsr(T a) {
    const T value = T(a & T(a - 1));
    return {value, LazyFlags::of_cf_of<T>(value, a == 0, false)};
}

template <class T>
constexpr Result<T> bzhi(T a, T index) {
    const unsigned n = index & 0xff;
    const T value = n < bits_of<T> ? T(a & T((T{1} << n) - 1)) : a;
    return {value, LazyFlags::of_cf_of<T>(value, n >= bits_of<T>, false)};
}

// The low bits of `a`, one by one, to where `mask` has bits.
template <class T>
constexpr T pdep(T a, T mask) {
    T value = 0;
    for (; mask; mask &= T(mask - 1), a >>= 1)
        if (a & 1) value |= T(mask & T(-mask));
    return value;
}
// The bits of `a` where `mask` has bits, packed to the low end.
template <class T>
constexpr T pext(T a, T mask) {
    T value = 0;
    for (unsigned n = 0; mask; mask &= T(mask - 1), ++n)
        if (a & mask & T(-mask)) value |= T(T{1} << n);
    return value;
}

static_assert(tzcnt<u16>(0).value == 16 && tzcnt<u16>(0).flags.cf() && tzcnt<u32>(1).flags.zf());
static_assert(lzcnt<u64>(1).value == 63 && lzcnt<u16>(0x8000).flags.zf() && !lzcnt<u16>(1).flags.cf());
static_assert(popcnt<u32>(0xf).value == 4 && popcnt<u32>(0xf).flags.bits() == 0 &&
              popcnt<u64>(0).flags.bits() == flag::zf);
static_assert(byte_swap<u32>(0x01020304) == 0x04030201 && byte_swap<u16>(0x0102) == 0x0201);
static_assert(andn<u32>(0xff, 0xf0f).value == 0xf00 && bextr<u32>(0xabcd, 0x0804).value == 0xbc);
static_assert(bextr<u64>(~u64{0}, 0xff3f).value == 1 && bextr<u32>(~u32{0}, 0x0120).flags.zf());
static_assert(blsi<u32>(0x50).value == 0x10 && blsi<u32>(0x50).flags.cf() && !blsi<u32>(0).flags.cf());
static_assert(blsmsk<u32>(0).value == ~u32{0} && blsmsk<u32>(0).flags.cf() && blsr<u32>(0x50).value == 0x40);
static_assert(bzhi<u32>(0xffff, 8).value == 0xff && bzhi<u32>(5, 32).flags.cf() && bzhi<u64>(7, 0x100).value == 0);
static_assert(pdep<u32>(5, 0xf0) == 0x50 && pext<u32>(0x5a, 0xf0) == 5 && pext<u64>(~u64{0}, ~u64{0}) == ~u64{0});

}  // namespace silicon::x86::alu
