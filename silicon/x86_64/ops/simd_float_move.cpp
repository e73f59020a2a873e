// Floating-point numbers moved, selected and combined bit by bit. Rows: spec/x86_64/simd_float_move.toml.
#include "silicon/x86_64/ops/lanes.h"

namespace silicon::x86 {
namespace {

#include "host_simd_float_move.inc"

template <class Dst, class Src>
SILICON_INLINE Outcome load_alone(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, widened(v.value));
}

template <class Dst, class Src>
SILICON_INLINE Outcome store_low(Cpu& cpu, const Insn& in) {
    return Dst::store(cpu, in, Src::load(cpu, in).value);
}

template <unsigned Half, class Dst, class Src>
SILICON_INLINE Outcome load_half(Cpu& cpu, const Insn& in) {
    const auto half = Src::load(cpu, in);
    if (!half.ok) [[unlikely]] return Outcome::Stop;
    Vec v = Dst::load(cpu, in).value;
    v[Half] = half.value;
    return Dst::store(cpu, in, v);
}

template <unsigned Half, class Dst, class Src>
SILICON_INLINE Outcome store_half(Cpu& cpu, const Insn& in) {
    return Dst::store(cpu, in, Src::load(cpu, in).value[Half]);
}

// Bits 5:4 of the immediate choose the place, bits 3:0 what becomes 0.
template <class Dst, class Src, class Imm>
SILICON_INLINE Outcome insert_single(Cpu& cpu, const Insn& in) {
    const auto number = Src::load(cpu, in);
    if (!number.ok) [[unlikely]] return Outcome::Stop;
    constexpr unsigned from_number_0 = 0x3f;
    const Vec r = by_immediate<host_lanes_imm::insertps, 256>[in.imm & from_number_0](Dst::load(cpu, in).value, widened(number.value));
    return Dst::store(cpu, in, r);
}

template <class Dst, class Src, class Imm>
SILICON_INLINE Outcome extract_single(Cpu& cpu, const Insn& in) {
    const Vec v = Src::load(cpu, in).value;
    return Dst::store(cpu, in, typename Dst::type(u32(v[in.imm >> 1 & 1] >> (in.imm & 1) * 32)));
}

}  // namespace

#include "ops_simd_float_move.inc"

}  // namespace silicon::x86
