// MMX: packed integers in the x87 registers. Rows: spec/x86_64/mmx.toml.
//
// The host's instructions run on XMM registers, so that the host's own x87 unit is left alone: most do to the lower half
// what the MMX form does; the others say how they get there.
#include "silicon/x86_64/ops/mmx.h"

#include "silicon/x86_64/ops/lanes.h"
#include "silicon/x86_64/ops/masked_store.h"

namespace silicon::x86 {
namespace {

#include "host_mmx.inc"

template <class Host, class Dst, class Src>
SILICON_INLINE Outcome mmx_lanes(Cpu& cpu, const Insn& in) {
    return mmx_update<Dst, Src>(cpu, in, [](u64 a, u64 b) { return Host::run(widened(a), widened(b))[0]; });
}

// The upper halves are interleaved, which in XMM registers are elsewhere.
template <class Host, class Dst, class Src>
SILICON_INLINE Outcome mmx_lanes_high(Cpu& cpu, const Insn& in) {
    return mmx_update<Dst, Src>(cpu, in, [](u64 a, u64 b) { return Host::run(Vec{0, a >> 32}, Vec{0, b >> 32})[0]; });
}

// Each operand gives one half of the result: both lie in one register.
template <class Host, class Dst, class Src>
SILICON_INLINE Outcome mmx_halves(Cpu& cpu, const Insn& in) {
    return mmx_update<Dst, Src>(cpu, in, [](u64 a, u64 b) { return Host::run(Vec{a, b}, Vec{a, b})[0]; });
}

template <class Host, class Dst, class Src>
SILICON_INLINE Outcome mmx_each_lane(Cpu& cpu, const Insn& in) {
    return mmx_make<Dst, Src>(cpu, in, [](u64 b) { return Host::run(widened(b))[0]; });
}

// Three bits choose a byte, where XMM registers need four.
template <class Host, class Dst, class Src>
SILICON_INLINE Outcome mmx_shuffle_bytes(Cpu& cpu, const Insn& in) {
    constexpr u64 chosen = 0x8787878787878787;
    return mmx_update<Dst, Src>(cpu, in, [](u64 a, u64 b) { return Host::run(widened(a), widened(b & chosen))[0]; });
}

template <class Host, class Dst, class Src>
SILICON_INLINE Outcome mmx_sign_bits(Cpu& cpu, const Insn& in) {
    return mmx_make<Dst, Src>(cpu, in, [](u64 b) { return Host::run(widened(b)); });
}

template <class Dst, class Src>
SILICON_INLINE Outcome mmx_move(Cpu& cpu, const Insn& in) {
    return mmx_make<Dst, Src>(cpu, in, [](auto b) { return b; });
}

template <class Dst, class Src>
SILICON_INLINE Outcome mmx_to_xmm(Cpu& cpu, const Insn& in) {
    return mmx_make<Dst, Src>(cpu, in, [](u64 b) { return widened(b); });
}

template <class Dst, class Src, class Imm>
SILICON_INLINE Outcome mmx_align(Cpu& cpu, const Insn& in) {
    return mmx_update<Dst, Src>(cpu, in, [&](u64 a, u64 b) {
        const unsigned bytes = u8(in.imm);
        return bytes < 16 ? u64((u128{a} << 64 | b) >> 8 * bytes) : 0;
    });
}

template <class Dst, class Src, class Imm>
SILICON_INLINE Outcome mmx_shuffle_words(Cpu& cpu, const Insn& in) {
    return mmx_make<Dst, Src>(cpu, in, [&](u64 b) {
        u64 result = 0;
        for (unsigned n = 0; n < 4; ++n) result |= u64{u16(b >> 16 * (in.imm >> 2 * n & 3))} << 16 * n;
        return result;
    });
}

template <class Dst, class Src, class Imm>
SILICON_INLINE Outcome mmx_extract_word(Cpu& cpu, const Insn& in) {
    return mmx_make<Dst, Src>(cpu, in, [&](u64 b) { return u16(b >> 16 * (in.imm & 3)); });
}

template <class Dst, class Src, class Imm>
SILICON_INLINE Outcome mmx_insert_word(Cpu& cpu, const Insn& in) {
    return mmx_update<Dst, Src>(cpu, in, [&](u64 a, u64 b) {
        const unsigned at = 16 * (in.imm & 3);
        return (a & ~(u64{0xffff} << at)) | u64{u16(b)} << at;
    });
}

template <class Src, class Mask>
SILICON_INLINE Outcome mmx_store_selected(Cpu& cpu, const Insn& in) {
    if (x87_raises(cpu)) [[unlikely]] return cpu.raise(vector_mf);
    const Linear at = masked_place(cpu, in, 8);
    if (!at.ok) [[unlikely]] return Outcome::Stop;
    const Outcome out = store_selected(cpu, at.value, Src::load(cpu, in).value, Mask::load(cpu, in).value);
    if (out != Outcome::Stop) enter_mmx(cpu);
    return out;
}

// Intel SDM vol. 2, "EMMS—Empty MMX Technology State".
SILICON_INLINE Outcome empty_mmx(Cpu& cpu, const Insn&) {
    if (x87_raises(cpu)) [[unlikely]] return cpu.raise(vector_mf);
    enter_mmx(cpu);
    cpu.fx.ftw = 0;
    return Outcome::Next;
}

}  // namespace

#include "ops_mmx.inc"

}  // namespace silicon::x86
