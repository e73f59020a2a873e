// MASKMOVDQU and MASKMOVQ: bytes of a register, each written where its mask has the top bit, at DS:rDI.
#pragma once

#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {

// Eight bytes. Only what is selected is written; a device sees one store where all are.
inline Outcome store_selected(Cpu& cpu, u64 at, u64 data, u64 mask) {
    constexpr u64 top_bits = 0x8080808080808080;
    if ((mask & top_bits) == top_bits) return cpu.store<u64>(at, data);
    Outcome result = Outcome::Next;
    for (unsigned n = 0; n < 8; ++n) {
        if (!(mask >> (8 * n + 7) & 1)) continue;
        const Outcome out = cpu.store<u8>(at + n, u8(data >> 8 * n));
        if (out == Outcome::Stop) return out;
        if (out == Outcome::Leave) result = out;
    }
    return result;
}

// All bytes must be writable, the selected or not: where they are not the manuals leave a fault to the processor, and ours
// is like the ones that we know. Intel SDM vol. 2, "MASKMOVDQU—Store Selected Bytes of Double Quadword".
inline Linear masked_place(Cpu& cpu, const Insn& in, unsigned size_bytes) {
    const u64 rdi_value = cpu.gpr[rdi], offset = in.address_bytes == 8   ? rdi_value
                                                 : in.address_bytes == 4 ? u32(rdi_value)
                                                                         : u16(rdi_value);
    const Linear at = cpu.segment_linear(in.seg, offset, size_bytes, Access::Write);
    if (!at.ok || cpu.misaligned(at.value, 8) || !cpu.probe_write(at.value, size_bytes)) return {0, false};
    return at;
}

}  // namespace silicon::x86
