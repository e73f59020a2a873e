// What x87 instructions share: pending exceptions, the instruction and operand pointers, and a step on the host's unit.
#pragma once

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/host_x87.h"

namespace silicon::x86 {

// The data of an x87 operand of 80 bits.
struct Real80 {
    u64 significand = 0;
    u16 sign_exponent = 0;
};

// Waiting instructions begin with this: an exception that has been left pending. With CR0.NE clear a processor only says so
// to the board (FERR#) and waits for its interrupt; here it goes on, as one whose IGNNE# is asserted.
// Intel SDM vol. 1, "MS-DOS Compatibility Sub-mode".
SILICON_INLINE bool x87_raises(const Cpu& cpu) { return cpu.fx.fsw & x87::summary && cpu.cr0 & cr0::ne; }

// What instructions but those of control record of themselves. FCS and FDS are deprecated: CPUID.7.0:EBX bit 13.
// Intel SDM vol. 1, "x87 FPU Instruction and Data (Operand) Pointers". The decoder puts FOP in the immediate.
SILICON_INLINE void note_x87(Cpu& cpu, const Insn& in) {
    cpu.fx.fip = cpu.gpr[slot_block_rip] + in.offset;
    cpu.fx.fop = u16(in.imm);
}
SILICON_INLINE void note_x87_operand(Cpu& cpu, const Insn& in) {
    note_x87(cpu, in);
    cpu.fx.fdp = in.addressing == Addressing::Flat64 ? cpu.effective(in) : cpu.offset_of(in);
}

// A part of an operand, `skip` bytes in. Operands wider than 8 bytes have their limit and their pages looked at by parts.
inline Linear x87_part(Cpu& cpu, const Insn& in, unsigned skip, unsigned size_bytes, Access access) {
    if (in.addressing == Addressing::Flat64) return {cpu.effective(in) + skip, true};
    if (in.addressing == Addressing::Flat32) return {u32(cpu.effective(in) + skip), true};
    return cpu.segment_linear(in.seg, cpu.offset_of(in) + skip, size_bytes, access);
}
Loaded<Real80> load_real80(Cpu& cpu, const Insn& in);
Outcome store_real80(Cpu& cpu, const Insn& in, const Real80& value);

// One instruction on the whole of the guest's x87 state. Nothing of the guest has changed before `commit`.
class X87Step {
  public:
    explicit X87Step(Cpu& cpu);
    void run(const Insn& in, void* memory = nullptr);
    bool stores() const;  // the memory destination was written: no exception stands before it that is not masked
    void commit();
    void commit_flags() { cpu_.lazy = LazyFlags::of_bits(flags_ & flag::arithmetic); }

  private:
    Cpu& cpu_;
    X87Image image_;
    u64 flags_ = 0;
};

template <class Operand>
inline constexpr unsigned x87_bytes = std::is_same_v<typename Operand::type, Real80> ? 10 : sizeof(typename Operand::type);
Outcome probe_x87_store(Cpu& cpu, const Insn& in, unsigned size_bytes);  // a destination that is not written faults too

// The whole way for a form with register operands only, and for one that loads or stores memory.
Outcome whole_x87(Cpu& cpu, const Insn& in);
Outcome whole_x87_load(Cpu& cpu, const Insn& in, const void* operand);
template <class Dst>
Outcome whole_x87_store(Cpu& cpu, const Insn& in) {
    typename Dst::type result{};
    X87Step step(cpu);
    step.run(in, &result);
    const Outcome out = step.stores() ? Dst::store(cpu, in, result) : probe_x87_store(cpu, in, x87_bytes<Dst>);
    if (out == Outcome::Stop) return out;
    step.commit();
    note_x87_operand(cpu, in);
    return out;
}

// The memory operand of 80 bits, as `M<T>` is of the others.
struct M80 {
    using type = Real80;
    static Loaded<Real80> load(Cpu& cpu, const Insn& in) { return load_real80(cpu, in); }
    static Outcome store(Cpu& cpu, const Insn& in, const Real80& value) { return store_real80(cpu, in, value); }
};

// The two-bit tags of all registers, by their own number. Intel SDM vol. 1, "x87 FPU Tag Word".
u16 full_x87_tags(const FxState& fx);
u8 abridged_x87_tags(u16 full);

bool x87_is_normal(const u8* reg);  // neither zero nor denormal, infinite, not a number, or of no format at all

void initialise_x87(Cpu& cpu);  // Intel SDM vol. 2, "FINIT/FNINIT—Initialize Floating-Point Unit"

}  // namespace silicon::x86
