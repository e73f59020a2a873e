// Bits of a local APIC's registers. Intel SDM vol. 3, chapter "Advanced Programmable Interrupt Controller (APIC)".
#pragma once

#include "silicon/types.h"

namespace silicon::apic {

namespace reg {  // offsets into the page; an MSR's number is 800H and a 16th of it
inline constexpr u32 id = 0x20, version = 0x30, tpr = 0x80, apr = 0x90, ppr = 0xa0, eoi = 0xb0, ldr = 0xd0, dfr = 0xe0, svr = 0xf0;
inline constexpr u32 isr = 0x100, tmr = 0x180, irr = 0x200, esr = 0x280, cmci = 0x2f0, icr = 0x300, icr_high = 0x310;
inline constexpr u32 timer = 0x320, thermal = 0x330, counters = 0x340, lint0 = 0x350, lint1 = 0x360, error = 0x370;
inline constexpr u32 initial_count = 0x380, current_count = 0x390, divide = 0x3e0, self_ipi = 0x3f0;
}  // namespace reg

namespace lvt {
inline constexpr u32 masked = 1 << 16, delivery_shift = 8;
inline constexpr u32 status = 1 << 12, remote_irr = 1 << 14;  // read-only
}  // namespace lvt

namespace svr {
inline constexpr u32 enabled = 1 << 8, writable = 0x1ff;
}

namespace error {
inline constexpr u32 sent_vector = 1 << 5, received_vector = 1 << 6, no_register = 1 << 7;
}

namespace timer {
inline constexpr u32 one_shot = 0, periodic = 1, deadline = 2;
}

inline constexpr u32 version_word = 0x14 | 6 << 16;  // seven entries in the local vector table
inline constexpr u32 divide_bits = 0xb;

constexpr u32 x2apic_ldr(u32 id) { return (id & 0xffff0) << 12 | u32{1} << (id & 0xf); }
static_assert(x2apic_ldr(0x21) == 0x00020002);

}  // namespace silicon::apic
