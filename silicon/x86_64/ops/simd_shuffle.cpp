// Lanes of XMM registers rearranged, extended, put in and taken out. Rows: spec/x86_64/simd_shuffle.toml.
#include "silicon/x86_64/ops/lanes.h"

namespace silicon::x86 {
namespace {

#include "host_simd_shuffle.inc"

// Both registers hold 32 bytes: from there on nothing is left to shift in.
template <class Host, class Dst, class Src, class Imm>
SILICON_INLINE Outcome align(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const unsigned bytes = u8(in.imm);
    return Dst::store(cpu, in, bytes < 32 ? by_immediate<Host, 32>[bytes](Dst::load(cpu, in).value, b.value) : Vec{});
}

// Where the lane of type T is that the immediate chooses in the register at operand position N.
template <class T, unsigned N>
SILICON_INLINE u8* lane(Cpu& cpu, const Insn& in) {
    return cpu.xmm(in.reg[N]) + sizeof(T) * (u8(in.imm) % (16 / sizeof(T)));
}

template <class T, class Dst, class Src, class Imm>
SILICON_INLINE Outcome extract(Cpu& cpu, const Insn& in) {
    return Dst::store(cpu, in, load_host<T>(lane<T, 1>(cpu, in)));
}

template <class T, class Dst, class Src, class Imm>
SILICON_INLINE Outcome insert(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    store_host<T>(lane<T, 0>(cpu, in), T(v.value));
    return Outcome::Next;
}

}  // namespace

#include "ops_simd_shuffle.inc"

}  // namespace silicon::x86
