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

// The byte at which the lane of type T begins that the immediate chooses.
template <class T>
SILICON_INLINE unsigned lane_at(const Insn& in) {
    return sizeof(T) * (u8(in.imm) % (16 / sizeof(T)));
}

template <class T, class Dst, class Src, class Imm>
SILICON_INLINE Outcome extract(Cpu& cpu, const Insn& in) {
    return Dst::store(cpu, in, load_host<T>(cpu.xmm(in.reg[1]) + lane_at<T>(in)));
}

// The whole register is read and written: a narrow store would make the next wide load wait for it.
template <class T, class Dst, class Src, class Imm>
SILICON_INLINE Outcome insert(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    const unsigned at = lane_at<T>(in), shift = 8 * (at & 7);
    const u64 mask = u64{T(~T{0})} << shift, bits = u64{T(v.value)} << shift;
    const u64 low = at < 8 ? ~u64{0} : 0;
    const Vec kept = Dst::load(cpu, in).value & ~Vec{mask & low, mask & ~low};
    return Dst::store(cpu, in, kept | Vec{bits & low, bits & ~low});
}

}  // namespace

#include "ops_simd_shuffle.inc"

}  // namespace silicon::x86
