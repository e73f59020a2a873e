// Packed integers in XMM registers. Rows: spec/x86_64/simd_integer.toml.
#include "silicon/x86_64/ops/lanes.h"

namespace silicon::x86 {
namespace {

#include "host_simd_integer.inc"

struct Left {
    static SILICON_INLINE u128 of(u128 a, unsigned bits) { return a << bits; }
};
struct Right {
    static SILICON_INLINE u128 of(u128 a, unsigned bits) { return a >> bits; }
};

template <class Direction, class Dst, class Imm>
SILICON_INLINE Outcome shift_bytes(Cpu& cpu, const Insn& in) {
    const unsigned bytes = u8(in.imm);
    const Vec a = Dst::load(cpu, in).value;
    const u128 moved = bytes > 15 ? 0 : Direction::of(u128{a[1]} << 64 | a[0], 8 * bytes);
    return Dst::store(cpu, in, Vec{u64(moved), u64(moved >> 64)});
}

// Intel SDM vol. 2, "PTEST—Logical Compare".
template <class A, class B>
SILICON_INLINE Outcome test_lanes(Cpu& cpu, const Insn& in) {
    const auto b = B::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const Vec a = A::load(cpu, in).value, both = a & b.value, only_b = ~a & b.value;
    cpu.lazy = LazyFlags::of_bits(((both[0] | both[1]) ? 0 : flag::zf) | ((only_b[0] | only_b[1]) ? 0 : flag::cf));
    return Outcome::Next;
}

}  // namespace

#include "ops_simd_integer.inc"

}  // namespace silicon::x86
