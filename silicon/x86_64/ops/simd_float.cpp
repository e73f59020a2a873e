// Floating point in XMM registers. Rows: spec/x86_64/simd_float.toml.
//
// The whole destination is read and written also where only its low number changes: a narrow store would make the next wide
// load wait for it.
#include "silicon/x86_64/ops/float_ways.h"

namespace silicon::x86 {
namespace {

#include "host_simd_float.inc"

// What never rounds to something tiny or too large.
template <bool Careful, class Host, class Dst, class Src>
SILICON_INLINE Outcome plain_way(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const Vec r = Host::run(Dst::load(cpu, in).value, widened(b.value));
    if (Careful && cpu.float_faulted()) return Outcome::Stop;
    return Dst::store(cpu, in, r);
}
template <class Host, class Dst, class Src>
SILICON_INLINE Outcome plain(Cpu& cpu, const Insn& in) {
    return either_way<&plain_way<false, Host, Dst, Src>, &plain_way<true, Host, Dst, Src>>(cpu, in);
}

template <bool Careful, class Host, Rounds How, Lanes Of, class Dst, class Src>
SILICON_INLINE Outcome rounded_way(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const Vec a = Dst::load(cpu, in).value;
    const Vec r = Host::run(a, widened(b.value));
    if (Careful && cpu.float_trap({How, Of, a, widened(b.value)})) return Outcome::Stop;
    return Dst::store(cpu, in, r);
}
template <class Host, Rounds How, Lanes Of, class Dst, class Src>
SILICON_INLINE Outcome rounded(Cpu& cpu, const Insn& in) {
    return either_way<&rounded_way<false, Host, How, Of, Dst, Src>, &rounded_way<true, Host, How, Of, Dst, Src>>(cpu, in);
}

// By an immediate, of which only as much counts as there are choices.
template <class Host, unsigned Choices, class Dst, class Src, class Imm>
SILICON_INLINE Outcome float_by(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const Vec r = by_immediate<Host, Choices>[u8(in.imm) % Choices](Dst::load(cpu, in).value, widened(b.value));
    if (cpu.float_faulted()) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, r);
}

// Bits 7:4 of the immediate select the products, bits 3:0 who gets the sum; the others get 0.
template <class Host>
struct EachSelection {
    template <int Selected>
    static Vec run(Vec a, Vec b) {
        return Host::template run<(Selected << 4 | 15)>(a, b);
    }
};

template <Lanes Of>
Vec lanes_mask(unsigned lanes) {
    if (Of == Lanes::F64x2) return Vec{lanes & 1 ? ~u64{0} : 0, lanes & 2 ? ~u64{0} : 0};
    const auto pair = [](unsigned two) { return (two & 1 ? u64{0xffffffff} : 0) | (two & 2 ? u64{0xffffffff} << 32 : 0); };
    return Vec{pair(lanes), pair(lanes >> 2)};
}

template <class Host, Lanes Of, class Dst, class Src, class Imm>
SILICON_INLINE Outcome dot_product(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const Vec a = Dst::load(cpu, in).value;
    const unsigned selected = in.imm >> 4 & (Of == Lanes::F64x2 ? 3 : 15);
    const Vec r = by_immediate<EachSelection<Host>, 16>[selected](a, b.value) & lanes_mask<Of>(in.imm & 15);
    if (cpu.float_traps() && cpu.dot_trap(Of, a, b.value, selected)) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, r);
}

// Unordered is equal and below; OF, SF and AF become 0. Intel SDM vol. 2, "COMISD—Compare Scalar Ordered
// Double Precision Floating-Point Values and Set EFLAGS".
constexpr LazyFlags flags_of_compare(bool equal, bool below) {
    constexpr u64 carry_without_overflow = u64{3} << LazyFlags::in_bit;
    return {!equal, (below ? carry_without_overflow : 0) | u64(equal && !below) << LazyFlags::parity_shift};
}
static_assert(flags_of_compare(true, true).bits() == (flag::zf | flag::pf | flag::cf));
static_assert(flags_of_compare(true, false).bits() == flag::zf && flags_of_compare(false, true).bits() == flag::cf);
static_assert(flags_of_compare(false, false).bits() == 0);

template <bool Careful, class Host, class Dst, class Src>
SILICON_INLINE Outcome compare_way(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    bool equal = false, below = false;
    Host::run(Dst::load(cpu, in).value, widened(b.value), equal, below);
    if (Careful && cpu.float_faulted()) return Outcome::Stop;
    cpu.lazy = flags_of_compare(equal, below);
    return Outcome::Next;
}
template <class Host, class Dst, class Src>
SILICON_INLINE Outcome compare(Cpu& cpu, const Insn& in) {
    return either_way<&compare_way<false, Host, Dst, Src>, &compare_way<true, Host, Dst, Src>>(cpu, in);
}

}  // namespace

#include "ops_simd_float.inc"

}  // namespace silicon::x86
