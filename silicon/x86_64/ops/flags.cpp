// Single flags. Rows: spec/x86_64/flags.toml.
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

template <bool Value>
SILICON_INLINE void set_carry(Cpu& cpu, const Insn&) {
    cpu.lazy = cpu.lazy.with_cf(Value);
}

SILICON_INLINE void complement_carry(Cpu& cpu, const Insn&) { cpu.lazy = cpu.lazy.with_cf(!cpu.lazy.cf()); }

template <bool Value>
SILICON_INLINE void set_direction(Cpu& cpu, const Insn&) {
    cpu.rflags = Value ? cpu.rflags | flag::df : cpu.rflags & ~flag::df;
}

SILICON_INLINE void load_ah(Cpu& cpu, const Insn&) {
    cpu.set<u8>(rax * 8 + 1, u8((cpu.lazy.bits() & 0xff) | flag::always));
}

SILICON_INLINE void store_ah(Cpu& cpu, const Insn&) {
    const u64 low = cpu.get<u8>(rax * 8 + 1) & (flag::sf | flag::zf | flag::af | flag::pf | flag::cf);
    cpu.lazy = LazyFlags::of_bits(low | (cpu.lazy.bits() & flag::of));
}

SILICON_INLINE void set_al(Cpu& cpu, const Insn&) { cpu.set_gpr<u8>(rax, cpu.lazy.cf() ? 0xff : 0); }

bool may_change_interrupts(const Cpu& cpu) { return !cpu.in_protected() || cpu.cpl <= (cpu.rflags & flag::iopl) >> 12; }

SILICON_INLINE Outcome clear_interrupts(Cpu& cpu, const Insn&) {
    if (!may_change_interrupts(cpu)) return cpu.raise(vector_gp, 0);
    cpu.rflags &= ~flag::intf;
    return Outcome::Next;
}

// The instruction behind STI still runs without interrupts, if they were off.
SILICON_INLINE Outcome set_interrupts(Cpu& cpu, const Insn&) {
    if (!may_change_interrupts(cpu)) return cpu.raise(vector_gp, 0);
    if (!cpu.interrupts_enabled()) cpu.interruptibility |= 1;
    cpu.rflags |= flag::intf;
    cpu.request_event();
    return Outcome::Next;
}

}  // namespace

#include "ops_flags.inc"

}  // namespace silicon::x86
