// Looking at descriptors, and the fast way to level 0 and back. Rows: spec/x86_64/protection.toml.
#include "silicon/x86_64/descriptors.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

void set_zero(Cpu& cpu, bool zero) {
    cpu.lazy = LazyFlags::of_bits((cpu.lazy.bits() & ~flag::zf) | (zero ? flag::zf : 0));
}

enum class Seen { Yes, No, Fault };

// The descriptor, if there is one and the level may see it; what cannot be seen is no fault.
Seen look(Cpu& cpu, u16 selector, Descriptor& d) {
    const auto place = cpu.descriptor_place(selector);
    if (!place) return Seen::No;
    const auto bits = cpu.system_load<u64>(*place);
    if (!bits.ok) return Seen::Fault;
    d.bits = bits.value;
    const bool visible = d.is_conforming() || (d.dpl() >= cpu.cpl && d.dpl() >= (selector & 3u));
    return visible ? Seen::Yes : Seen::No;
}

constexpr u32 types(std::initializer_list<unsigned> list) {
    u32 bits = 0;
    for (const unsigned type : list) bits |= u32{1} << type;
    return bits;
}

// System descriptors that LAR and LSL know. Intel SDM vol. 2, "LAR", "LSL", tables of valid types.
constexpr u32 lar_legacy = types({1, 2, 3, 4, 5, 9, 11, 12}), lar_long = types({2, 9, 11, 12});
constexpr u32 lsl_legacy = types({1, 2, 3, 9, 11}), lsl_long = types({2, 9, 11});

bool is_known(const Cpu& cpu, const Descriptor& d, u32 legacy, u32 in_long_mode) {
    return !d.is_system() || (cpu.efer & efer::lma ? in_long_mode : legacy) >> d.type() & 1;
}

// The descriptor that the operand's selector names; Fault too where the operand cannot be read, or there are no descriptors.
template <class Src>
SILICON_INLINE Seen look_at_operand(Cpu& cpu, const Insn& in, Descriptor& d) {
    if (!cpu.has_descriptors()) return Seen::Fault;
    const auto selector = Src::load(cpu, in);
    return selector.ok ? look(cpu, u16(selector.value), d) : Seen::Fault;
}

template <class Dst, class Src>
SILICON_INLINE Outcome load_rights(Cpu& cpu, const Insn& in) {
    Descriptor d;
    const Seen seen = look_at_operand<Src>(cpu, in, d);
    if (seen == Seen::Fault) return Outcome::Stop;
    const bool found = seen == Seen::Yes && is_known(cpu, d, lar_legacy, lar_long);
    if (found) Dst::store(cpu, in, typename Dst::type(d.bits >> 32 & 0x00ffff00));
    set_zero(cpu, found);
    return Outcome::Next;
}

template <class Dst, class Src>
SILICON_INLINE Outcome load_limit(Cpu& cpu, const Insn& in) {
    Descriptor d;
    const Seen seen = look_at_operand<Src>(cpu, in, d);
    if (seen == Seen::Fault) return Outcome::Stop;
    const bool found = seen == Seen::Yes && is_known(cpu, d, lsl_legacy, lsl_long);
    if (found) Dst::store(cpu, in, typename Dst::type(d.limit()));
    set_zero(cpu, found);
    return Outcome::Next;
}

template <bool Write, class Src>
SILICON_INLINE Outcome verify(Cpu& cpu, const Insn& in) {
    Descriptor d;
    const Seen seen = look_at_operand<Src>(cpu, in, d);
    if (seen == Seen::Fault) return Outcome::Stop;
    set_zero(cpu, seen == Seen::Yes && (Write ? d.is_writable_data() : d.is_readable()));
    return Outcome::Next;
}

// The caller's level into a selector that it has handed over.
template <class Dst, class Src>
SILICON_INLINE Outcome adjust_level(Cpu& cpu, const Insn& in) {
    if (!cpu.has_descriptors()) return Outcome::Stop;
    const auto selector = Dst::load(cpu, in);
    if (!selector.ok) return Outcome::Stop;
    const u16 level = Src::load(cpu, in).value & 3;
    const bool raised = (selector.value & 3) < level;
    Outcome out = Outcome::Next;
    if (raised) out = Dst::store(cpu, in, u16((selector.value & ~3u) | level));
    if (out != Outcome::Stop) set_zero(cpu, raised);
    return out;
}

constexpr u32 msr_sysenter_cs = 0x174, msr_sysenter_esp = 0x175, msr_sysenter_eip = 0x176;

Segment flat_of_level(u32 selector, bool code, bool long_code, unsigned dpl) {
    const u32 kind = code ? ar::code | ar::readable | (long_code ? ar::l : ar::db) : ar::writable | ar::db;
    return {0, 0xffffffff, ar::present | ar::s | ar::accessed | ar::g | u32{dpl} << ar::dpl_shift | kind, u16(selector | dpl)};
}

// Intel SDM vol. 2, "SYSENTER—Fast System Call".
SILICON_INLINE Outcome enter_system(Cpu& cpu, const Insn&) {
    const u32 selector = u32(cpu.plain_msrs[msr_sysenter_cs]) & 0xfffc;
    if (!cpu.in_protected() || !selector) return cpu.raise(vector_gp, 0);
    const bool long_mode = cpu.efer & efer::lma;
    const u64 mask = long_mode ? ~u64{0} : 0xffffffff;
    cpu.set_rflags(0, flag::vm | flag::intf);
    cpu.enter_flat(flat_of_level(selector, true, long_mode, 0), flat_of_level(selector + 8, false, false, 0));
    cpu.gpr[rsp] = cpu.plain_msrs[msr_sysenter_esp] & mask;
    cpu.rip = cpu.plain_msrs[msr_sysenter_eip] & mask;
    return Outcome::Next;
}

// Intel SDM vol. 2, "SYSEXIT—Fast Return from Fast System Call".
template <class T>
SILICON_INLINE Outcome exit_system(Cpu& cpu, const Insn&) {
    constexpr bool to_long = sizeof(T) == 8;
    const u32 selector = u32(cpu.plain_msrs[msr_sysenter_cs]) & 0xfffc;
    if (!cpu.in_protected() || !selector || cpu.cpl != 0) return cpu.raise(vector_gp, 0);
    const u64 sp = cpu.gpr[rcx], target = cpu.gpr[rdx];
    if (to_long && !(cpu.canonical(sp) && cpu.canonical(target))) return cpu.raise(vector_gp, 0);
    cpu.enter_flat(flat_of_level(selector + (to_long ? 32 : 16), true, to_long, 3), flat_of_level(selector + (to_long ? 40 : 24), false, false, 3));
    cpu.gpr[rsp] = to_long ? sp : u32(sp);
    cpu.rip = to_long ? target : u32(target);
    return Outcome::Next;
}

}  // namespace

#include "ops_protection.inc"

}  // namespace silicon::x86
