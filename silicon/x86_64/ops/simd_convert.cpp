// Conversions between XMM registers and general or MMX ones. Rows: spec/x86_64/simd_convert.toml.
#include "silicon/x86_64/ops/float_ways.h"
#include "silicon/x86_64/ops/mmx.h"

namespace silicon::x86 {
namespace {

#include "host_simd_convert.inc"

// What the MMX forms run, on XMM registers: the host's own x87 unit is left alone.
HOST_FLOAT(cvtdq2ps)
HOST_FLOAT(cvtdq2pd)
HOST_FLOAT(cvtps2dq)
HOST_FLOAT(cvttps2dq)
HOST_FLOAT(cvtpd2dq)
HOST_FLOAT(cvttpd2dq)

template <bool Careful, class Host, class Dst, class Src>
SILICON_INLINE Outcome from_integer_way(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const Vec r = Host::run(Dst::load(cpu, in).value, b.value);
    if (Careful && cpu.float_faulted()) return Outcome::Stop;
    return Dst::store(cpu, in, r);
}
template <class Host, class Dst, class Src>
SILICON_INLINE Outcome from_integer(Cpu& cpu, const Insn& in) {
    return either_way<&from_integer_way<false, Host, Dst, Src>, &from_integer_way<true, Host, Dst, Src>>(cpu, in);
}

template <bool Careful, class Host, class Dst, class Src>
SILICON_INLINE Outcome to_integer_way(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const auto r = Host::template run<typename Dst::type>(widened(b.value));
    if (Careful && cpu.float_faulted()) return Outcome::Stop;
    return Dst::store(cpu, in, r);
}
template <class Host, class Dst, class Src>
SILICON_INLINE Outcome to_integer(Cpu& cpu, const Insn& in) {
    return either_way<&to_integer_way<false, Host, Dst, Src>, &to_integer_way<true, Host, Dst, Src>>(cpu, in);
}

// The x87 unit belongs to MMX as soon as the operand is there, also where #XM follows: so processors do it.
//
// From memory they have nothing to do with the x87 unit. Intel SDM vol. 2, "CVTPI2PD—Convert Packed Dword Integers to
// Packed Double Precision Floating-Point Values"; processors do the same for CVTPI2PS.
template <class Dst, class Src>
SILICON_INLINE Outcome from_mmx_singles(Cpu& cpu, const Insn& in) {
    if (!Src::memory && x87_raises(cpu)) [[unlikely]] return cpu.raise(vector_mf);
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const Vec a = Dst::load(cpu, in).value, r = host_float::cvtdq2ps::run(a, widened(b.value));
    if (!Src::memory) enter_mmx(cpu);
    if (cpu.float_faulted()) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, Vec{r[0], a[1]});
}

// Always exact.
template <class Dst, class Src>
SILICON_INLINE Outcome from_mmx_doubles(Cpu& cpu, const Insn& in) {
    if (!Src::memory && x87_raises(cpu)) [[unlikely]] return cpu.raise(vector_mf);
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    if (!Src::memory) enter_mmx(cpu);
    return Dst::store(cpu, in, host_float::cvtdq2pd::run(Vec{}, widened(b.value)));
}

template <class Host, class Dst, class Src>
SILICON_INLINE Outcome to_mmx(Cpu& cpu, const Insn& in) {
    if (x87_raises(cpu)) [[unlikely]] return cpu.raise(vector_mf);
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const Vec r = Host::run(Vec{}, widened(b.value));
    enter_mmx(cpu);
    if (cpu.float_faulted()) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, r[0]);
}

}  // namespace

#include "ops_simd_convert.inc"

}  // namespace silicon::x86
