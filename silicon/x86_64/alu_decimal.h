// Decimal adjustments after additions and subtractions. Intel SDM vol. 2: "AAA", "AAS", "DAA", "DAS".
#pragma once

#include "silicon/x86_64/alu.h"

namespace silicon::x86::alu {

// SF, ZF and PF of AL; AF and CF as given. OF is undefined, here 0.
constexpr Result<u8> adjusted(u8 al, bool a, bool c) {
    const u64 others = LazyFlags::of_logic<u8>(al).bits() & (flag::sf | flag::zf | flag::pf);
    return {al, LazyFlags::of_bits(others | (a ? flag::af : 0) | (c ? flag::cf : 0))};
}

constexpr Result<u8> daa(u8 al, bool a, bool c) {
    const bool low = (al & 15) > 9 || a, high = al > 0x99 || c;
    return adjusted(u8(al + (low ? 6 : 0) + (high ? 0x60 : 0)), low, high);
}

// The borrow of the lower digit counts too.
constexpr Result<u8> das(u8 al, bool a, bool c) {
    const bool low = (al & 15) > 9 || a, high = al > 0x99 || c;
    return adjusted(u8(al - (low ? 6 : 0) - (high ? 0x60 : 0)), low, high || (low && al < 6));
}

// On AX; SF, ZF, PF and OF are undefined.
constexpr Result<u16> aaa(u16 ax, bool a, bool) {
    const bool carry = (ax & 15) > 9 || a;
    const u16 value = u16((carry ? ax + 0x106 : ax) & 0xff0f);
    return {value, adjusted(u8(value), carry, carry).flags};
}

constexpr Result<u16> aas(u16 ax, bool a, bool) {
    const bool carry = (ax & 15) > 9 || a;
    const u16 value = u16((carry ? ax - 0x106 : ax) & 0xff0f);
    return {value, adjusted(u8(value), carry, carry).flags};
}

static_assert(daa(0xae, true, false).value == 0x14 && daa(0xae, true, false).flags.cf());
static_assert(das(0xee, false, false).value == 0x88 && das(0xee, false, false).flags.cf() &&
              das(3, true, false).flags.cf());
static_assert(aaa(0x000f, false, false).value == 0x0105 && aas(0x0200, true, false).value == 0x000a);

}  // namespace silicon::x86::alu
