// Integer arithmetic with its flags: pure, and proved where it stands. Intel SDM vol. 2, each instruction's "Operation".
#pragma once

#include "silicon/x86_64/flags.h"

namespace silicon::x86::alu {

template <class T>
struct Result {
    T value;
    LazyFlags flags;
};

template <class T>
constexpr Result<T> add(T a, T b, bool carry = false) {
    const T sum = T(a + b + T{carry});
    return {sum, LazyFlags::of_carries<T>(sum, T((a & b) | ((a | b) & T(~sum))))};
}

template <class T>
constexpr Result<T> sub(T a, T b, bool borrow = false) {
    const T difference = T(a - b - T{borrow});
    return {difference, LazyFlags::of_carries<T>(difference, T((T(~a) & b) | ((T(~a) | b) & difference)))};
}

// INC and DEC leave CF as it was.
template <class T>
constexpr Result<T> inc(T a, const LazyFlags& before) {
    const auto r = add<T>(a, 1);
    return {r.value, r.flags.with_cf(before.cf())};
}
template <class T>
constexpr Result<T> dec(T a, const LazyFlags& before) {
    const auto r = sub<T>(a, 1);
    return {r.value, r.flags.with_cf(before.cf())};
}

static_assert(add<u8>(0x7f, 1).flags.of() && !add<u8>(0x7f, 1).flags.cf() && add<u8>(0x7f, 1).flags.af_set());
static_assert(add<u16>(0xffff, 0, true).flags.cf() && add<u16>(0xffff, 0, true).flags.zf());
static_assert(add<u64>(~u64{0}, 1).flags.cf() && !add<u64>(~u64{0}, 1).flags.of());
static_assert(sub<u32>(0, 1).flags.cf() && sub<u32>(0, 1).flags.sf() && !sub<u32>(0, 1).flags.of());
static_assert(sub<u8>(0x80, 1).flags.of() && sub<u8>(0x80, 1).flags.af_set() && !sub<u8>(0x80, 1).flags.cf());
static_assert(inc<u8>(0x7f, LazyFlags::of_bits(flag::cf)).flags.bits() == (flag::cf | flag::of | flag::sf | flag::af));

}  // namespace silicon::x86::alu
