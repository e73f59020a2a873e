// Shifts and rotates with their flags. Intel SDM vol. 2: "SAL/SAR/SHL/SHR", "RCL/RCR/ROL/ROR", "SHLD", "SHRD".
//
// Counts are masked by the caller and not 0: a count of 0 changes no flag. Where the SDM leaves OF undefined (counts
// other than 1) it is what the rule for 1 gives.
#pragma once

#include "silicon/x86_64/alu.h"

namespace silicon::x86::alu {

template <class T>
inline constexpr unsigned count_mask = sizeof(T) == 8 ? 63 : 31;

template <class T>
constexpr bool top_bit(T value) {
    return value & sign_bit<T>;
}
// The two top bits differ: OF of what moves to the right.
template <class T>
constexpr bool top_bits_differ(T value) {
    return top_bit<T>(T(value ^ T(value << 1)));
}
constexpr LazyFlags with_cf_of(LazyFlags flags, bool c, bool o) {
    flags.rest =
        (flags.rest & ~(u64{3} << LazyFlags::in_bit)) | u64{c} << LazyFlags::cf_bit | u64(c != o) << LazyFlags::in_bit;
    return flags;
}

template <class T>
constexpr Result<T> shl(T a, unsigned count) {
    const T value = count < bits_of<T> ? T(u64{a} << count) : T{0};
    const bool c = count <= bits_of<T> && (u64{a} >> (bits_of<T> - count) & 1);
    return {value, LazyFlags::of_cf_of<T>(value, c, top_bit(value) != c)};
}

template <class T>
constexpr Result<T> shr(T a, unsigned count) {
    const T value = count < bits_of<T> ? T(a >> count) : T{0};
    const bool c = count <= bits_of<T> && (u64{a} >> (count - 1) & 1);
    return {value, LazyFlags::of_cf_of<T>(value, c, top_bits_differ(value))};
}

template <class T>
constexpr Result<T> sar(T a, unsigned count) {
    const i64 wide = static_cast<i64>(LazyFlags::extend(a));
    const T value = T(wide >> count);
    return {value, LazyFlags::of_cf_of<T>(value, wide >> (count - 1) & 1, false)};
}

// The rotates leave SF, ZF, AF and PF.
template <class T>
constexpr Result<T> rol(T a, unsigned count, const LazyFlags& before) {
    const T value = std::rotl(a, static_cast<int>(count % bits_of<T>));
    const bool c = value & 1;
    return {value, with_cf_of(before, c, top_bit(value) != c)};
}

template <class T>
constexpr Result<T> ror(T a, unsigned count, const LazyFlags& before) {
    const T value = std::rotr(a, static_cast<int>(count % bits_of<T>));
    return {value, with_cf_of(before, top_bit(value), top_bits_differ(value))};
}

// Through carry the ring has one bit more than the operand.
template <class T>
constexpr Result<T> rcl(T a, unsigned count, const LazyFlags& before) {
    constexpr unsigned bits = bits_of<T>;
    const unsigned n = sizeof(T) <= 2 ? count % (bits + 1) : count;
    if (n == 0) return {a, before};
    const u64 low = u64{a} << 1 | u64{before.cf()};
    const T value = T(T(low << (n - 1)) | (n > 1 ? T(u64{a} >> (bits + 1 - n)) : T{0}));
    const bool c = u64{a} >> (bits - n) & 1;
    return {value, with_cf_of(before, c, top_bit(value) != c)};
}

template <class T>
constexpr Result<T> rcr(T a, unsigned count, const LazyFlags& before) {
    constexpr unsigned bits = bits_of<T>;
    const unsigned n = sizeof(T) <= 2 ? count % (bits + 1) : count;
    if (n == 0) return {a, before};
    const u64 high = n > 1 ? u64{a} << (bits + 1 - n) : 0;
    const T value = T((n < bits ? u64{a} >> n : 0) | high | u64{before.cf()} << (bits - n));
    const bool c = u64{a} >> (n - 1) & 1;
    return {value, with_cf_of(before, c, top_bits_differ(value))};
}

// Counts above 16 of a 16-bit operand are undefined: here `from` is followed by `a` again.
template <class T>
constexpr Result<T> shld(T a, T from, unsigned count) {
    constexpr unsigned bits = bits_of<T>;
    T value;
    bool c;
    if constexpr (sizeof(T) == 2) {
        const u64 wide = u64{a} << 32 | u64{from} << 16 | a;
        value = T(wide >> (32 - count));
        c = wide >> (48 - count) & 1;
    } else {
        value = T(a << count | from >> (bits - count));
        c = a >> (bits - count) & 1;
    }
    return {value, LazyFlags::of_cf_of<T>(value, c, top_bit(T(value ^ a)))};
}

template <class T>
constexpr Result<T> shrd(T a, T from, unsigned count) {
    T value;
    bool c;
    if constexpr (sizeof(T) == 2) {
        const u64 wide = u64{a} << 32 | u64{from} << 16 | a;
        value = T(wide >> count);
        c = wide >> (count - 1) & 1;
    } else {
        value = T(a >> count | from << (bits_of<T> - count));
        c = a >> (count - 1) & 1;
    }
    return {value, LazyFlags::of_cf_of<T>(value, c, top_bit(T(value ^ a)))};
}

inline constexpr LazyFlags no_flags = LazyFlags::of_bits(0), carry_flag = LazyFlags::of_bits(flag::cf);
static_assert(shl<u8>(0x81, 1).value == 2 && shl<u8>(0x81, 1).flags.cf() && shl<u8>(0x81, 1).flags.of());
static_assert(shl<u8>(1, 8).value == 0 && shl<u8>(1, 8).flags.cf() && !shl<u8>(0xff, 9).flags.cf());
static_assert(shl<u64>(3, 63).value == u64{1} << 63 && shl<u64>(3, 63).flags.cf());
static_assert(shr<u16>(0x8001, 1).value == 0x4000 && shr<u16>(0x8001, 1).flags.cf() && shr<u16>(0x8001, 1).flags.of());
static_assert(sar<u8>(0x80, 31).value == 0xff && sar<u8>(0x80, 31).flags.cf() && !sar<u8>(0x40, 7).flags.of());
static_assert(sar<u64>(u64{1} << 63, 63).value == ~u64{0});
static_assert(rol<u8>(0x81, 1, no_flags).value == 3 && rol<u8>(0x81, 8, no_flags).flags.cf());
static_assert(ror<u32>(1, 1, no_flags).value == 0x8000'0000 && ror<u32>(1, 1, no_flags).flags.cf());
static_assert(rcl<u8>(0x80, 1, carry_flag).value == 1 && rcl<u8>(0x80, 1, carry_flag).flags.cf());
static_assert(rcl<u8>(0xa5, 9, carry_flag).value == 0xa5 && rcl<u8>(0xa5, 8, carry_flag).value == 0xd2);
static_assert(rcr<u8>(0xa5, 8, carry_flag).value == 0x4b && rcr<u64>(1, 1, carry_flag).value == u64{1} << 63);
static_assert(rcr<u16>(0x8001, 16, no_flags).value == 2 && rcl<u64>(1, 63, no_flags).value == u64{1} << 63);
static_assert(shld<u16>(0x1234, 0xabcd, 4).value == 0x234a && shld<u16>(0x1234, 0xabcd, 4).flags.cf());
static_assert(shrd<u32>(0x8000'0001, 0xf, 4).value == 0xf800'0000 && !shrd<u32>(0x11, 0, 4).flags.cf());

}  // namespace silicon::x86::alu
