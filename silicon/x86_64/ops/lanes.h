// Handlers that run one of the host's SIMD instructions (host_simd.h) on an instruction's operands.
#pragma once

#include <array>
#include <utility>

#include "silicon/x86_64/ops/host_simd.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {

// A narrower operand as the host's instruction reads it: in the low bytes.
template <class T>
SILICON_INLINE Vec widened(T value) {
    if constexpr (std::is_same_v<T, Vec>)
        return value;
    else
        return Vec{u64{value}, 0};
}

// dst = dst OP src; a shift's count may be an immediate
template <class Host, class Dst, class Src>
SILICON_INLINE Outcome lanes(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, Host::run(Dst::load(cpu, in).value, widened(b.value)));
}

// dst = OP src
template <class Host, class Dst, class Src>
SILICON_INLINE Outcome each_lane(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, Host::run(widened(b.value)));
}

// What the host's instruction does by each immediate from 0 on.
template <class Host, size_t... N>
consteval auto each_immediate(std::index_sequence<N...>) {
    return std::array{&Host::template run<int{N}>...};
}
template <class Host, size_t Choices>
inline constexpr auto by_immediate = each_immediate<Host>(std::make_index_sequence<Choices>{});

// dst = dst OP src by an immediate, of which only as much counts as there are choices
template <class Host, unsigned Choices, class Dst, class Src, class Imm>
SILICON_INLINE Outcome lanes_by(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, by_immediate<Host, Choices>[u8(in.imm) % Choices](Dst::load(cpu, in).value, b.value));
}

// dst = OP src by an immediate
template <class Host, unsigned Choices, class Dst, class Src, class Imm>
SILICON_INLINE Outcome each_lane_by(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, by_immediate<Host, Choices>[u8(in.imm) % Choices](b.value));
}

// dst = dst OP src by what XMM0 holds
template <class Host, class Dst, class Src>
SILICON_INLINE Outcome lanes_by_xmm0(Cpu& cpu, const Insn& in) {
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, Host::run(Dst::load(cpu, in).value, b.value, load_host<Vec>(cpu.xmm(0))));
}

// General register = the sign bits of the lanes
template <class Host, class Dst, class Src>
SILICON_INLINE void sign_bits(Cpu& cpu, const Insn& in) {
    Dst::store(cpu, in, Host::run(widened(Src::load(cpu, in).value)));
}

}  // namespace silicon::x86
