// SMAP's gate, segment bases by instruction, INVPCID, RDPID. Rows: spec/x86_64/context.toml.
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

// Intel SDM vol. 2, "CLAC", "STAC": #UD outside CPL 0.
template <bool On>
SILICON_INLINE Outcome set_access_check(Cpu& cpu, const Insn&) {
    if (cpu.cpl != 0) return cpu.raise(vector_ud);
    cpu.set_rflags(On ? flag::ac : 0, flag::ac);
    return Outcome::Next;
}

template <Seg Which, class Dst>
SILICON_INLINE Outcome read_base(Cpu& cpu, const Insn& in) {
    if (!(cpu.cr4 & cr4::fsgsbase)) return cpu.raise(vector_ud);
    return Dst::store(cpu, in, typename Dst::type(cpu.at(Which).base));
}

template <Seg Which, class Src>
SILICON_INLINE Outcome write_base(Cpu& cpu, const Insn& in) {
    if (!(cpu.cr4 & cr4::fsgsbase)) return cpu.raise(vector_ud);
    const u64 base = Src::load(cpu, in).value;
    if (!cpu.canonical_base(base)) return cpu.raise(vector_gp, 0);
    cpu.at(Which).base = base;
    return Outcome::Next;
}

constexpr u32 msr_tsc_aux = 0xc0000103;

template <class Dst>
SILICON_INLINE Outcome read_processor_id(Cpu& cpu, const Insn& in) {
    if (cpu.raw() && !cpu.control2(proc2::rdtscp)) return cpu.raise(vector_ud);
    u64 aux = 0;
    cpu.get_msr(msr_tsc_aux, aux);
    return Dst::store(cpu, in, typename Dst::type(u32(aux)));
}

// The descriptor: PCID in bits 11:0, bits 63:12 zero, then the linear address.
template <class Type, class Memory>
SILICON_INLINE Outcome invalidate_context(Cpu& cpu, const Insn& in) {
    if (cpu.raw() && !cpu.control2(proc2::invpcid)) return cpu.raise(vector_ud);
    if (cpu.cpl != 0) return cpu.raise(vector_gp, 0);
    if (cpu.control(proc::invlpg)) return cpu.operand_exit(in, Reason::Invpcid, u32{in.reg[0]} / 8 << 28, true);
    const Linear at = cpu.segment_linear(in.seg, cpu.offset_of(in), 16, Access::Read);
    if (!at.ok) return Outcome::Stop;
    const auto pcid = cpu.load<u64>(at.value);
    if (!pcid.ok) return Outcome::Stop;
    const auto linear = cpu.load<u64>(at.value + 8);
    if (!linear.ok) return Outcome::Stop;
    return cpu.invalidate(Type::load(cpu, in).value, pcid.value, linear.value);
}

}  // namespace

#include "ops_context.inc"

}  // namespace silicon::x86
