// Moves, extensions, exchanges, addresses, and segment registers. Rows: spec/x86_64/move.toml.
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

template <class Dst, class Src>
SILICON_INLINE Outcome move(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, typename Dst::type(v.value));
}

template <class Dst, class Src>
SILICON_INLINE Outcome extend_zero(Cpu& cpu, const Insn& in) {
    return move<Dst, Src>(cpu, in);
}

template <class Dst, class Src>
SILICON_INLINE Outcome extend_sign(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, typename Dst::type(LazyFlags::extend(v.value)));
}

template <class Dst, class Src>
SILICON_INLINE Outcome truncate(Cpu& cpu, const Insn& in) {
    return move<Dst, Src>(cpu, in);
}

template <class Dst, class Any>
SILICON_INLINE void load_address(Cpu& cpu, const Insn& in) {
    Dst::store(cpu, in, typename Dst::type(cpu.offset_of(in)));
}

template <class Dst, class Src>
SILICON_INLINE Outcome exchange(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const T mine = Src::load(cpu, in).value;
    if constexpr (!Dst::memory) {
        const T other = Dst::load(cpu, in).value;
        Src::store(cpu, in, other);
        Dst::store(cpu, in, mine);
        return Outcome::Next;
    } else {  // always locked
        u8* at = place_locked<Dst>(cpu, in);
        if (!at) [[unlikely]] return Outcome::Stop;
        const T other = exchange_host<T>(at, mine);
        const Outcome out = cpu.commit_locked(at);
        if (out != Outcome::Stop) Src::store(cpu, in, other);
        return out;
    }
}

template <class Dst, class Src>
SILICON_INLINE Outcome exchange_locked(Cpu& cpu, const Insn& in) {
    return exchange<Dst, Src>(cpu, in);
}

SILICON_INLINE Outcome translate_byte(Cpu& cpu, const Insn& in) {
    u64 offset = cpu.gpr[rbx] + u8(cpu.gpr[rax]);
    if (in.address_bytes < 8) offset &= in.address_bytes == 4 ? 0xffffffff : 0xffff;
    const Linear at = cpu.segment_linear(in.seg, offset, 1, Access::Read);
    if (!at.ok) return Outcome::Stop;
    const auto v = cpu.load<u8>(at.value);
    if (!v.ok) return Outcome::Stop;
    cpu.set_gpr<u8>(rax, v.value);
    return Outcome::Next;
}

// To a register of 32 or 64 bits the selector is zero-extended.
template <class Dst, class Source>
SILICON_INLINE Outcome move_from_segment(Cpu& cpu, const Insn& in) {
    const u16 selector = cpu.at(static_cast<Seg>(in.reg[1])).selector;
    return Dst::store(cpu, in, typename Dst::type(selector));
}

// Loading SS holds interrupts off for one instruction. Intel SDM vol. 2, "MOV—Move".
template <class Dst, class Src>
SILICON_INLINE Outcome move_to_segment(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) return Outcome::Stop;
    const auto which = static_cast<Seg>(in.reg[0]);
    if (which == Seg::Cs) return cpu.raise(vector_ud);
    if (!cpu.load_segment(which, u16(v.value))) return Outcome::Stop;
    if (which == Seg::Ss) cpu.interruptibility |= 2;
    cpu.request_event();
    return Outcome::Next;
}

// Offset, then selector behind it.
template <Seg Which, class Dst, class Any>
SILICON_INLINE Outcome load_far(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const u64 start = cpu.offset_of(in);
    const Linear at = cpu.segment_linear(in.seg, start, sizeof(T), Access::Read);
    if (!at.ok) return Outcome::Stop;
    const Linear at_selector = cpu.segment_linear(in.seg, start + sizeof(T), 2, Access::Read);
    if (!at_selector.ok) return Outcome::Stop;
    const auto offset = cpu.load<T>(at.value);
    if (!offset.ok) return Outcome::Stop;
    const auto selector = cpu.load<u16>(at_selector.value);
    if (!selector.ok || !cpu.load_segment(Which, selector.value)) return Outcome::Stop;
    Dst::store(cpu, in, offset.value);
    cpu.request_event();
    return Outcome::Next;
}
template <class Dst, class Any>
SILICON_INLINE Outcome load_far_lds(Cpu& cpu, const Insn& in) { return load_far<Seg::Ds, Dst, Any>(cpu, in); }
template <class Dst, class Any>
SILICON_INLINE Outcome load_far_les(Cpu& cpu, const Insn& in) { return load_far<Seg::Es, Dst, Any>(cpu, in); }
template <class Dst, class Any>
SILICON_INLINE Outcome load_far_lss(Cpu& cpu, const Insn& in) { return load_far<Seg::Ss, Dst, Any>(cpu, in); }
template <class Dst, class Any>
SILICON_INLINE Outcome load_far_lfs(Cpu& cpu, const Insn& in) { return load_far<Seg::Fs, Dst, Any>(cpu, in); }
template <class Dst, class Any>
SILICON_INLINE Outcome load_far_lgs(Cpu& cpu, const Insn& in) { return load_far<Seg::Gs, Dst, Any>(cpu, in); }

}  // namespace

#include "ops_move.inc"

}  // namespace silicon::x86
