// MONITOR and MWAIT, performance counters, extended control registers. Rows: spec/x86_64/processor.toml.
#include <utility>

#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

// Intel SDM vol. 2, "MONITOR—Set Up Monitor Address": reads a byte, for its faults; ECX holds no extensions.
SILICON_INLINE Outcome monitor(Cpu& cpu, const Insn& in) {
    if (cpu.cpl != 0) return cpu.raise(vector_ud);
    if (cpu.control(proc::monitor)) return cpu.stop_with(ExitKind::Unnamed, Reason::Monitor);
    if (u32(cpu.gpr[rcx]) != 0) return cpu.raise(vector_gp, 0);
    const u64 mask = in.address_bytes == 8 ? ~u64{0} : in.address_bytes == 4 ? 0xffffffff : 0xffff;
    const Linear at = cpu.segment_linear(in.seg, cpu.gpr[rax] & mask, 1, Access::Read);
    if (!at.ok || !cpu.load<u8>(at.value).ok) return Outcome::Stop;
    cpu.monitor_armed = true;
    return Outcome::Next;
}

// Intel SDM vol. 2, "MWAIT—Monitor Wait": a hint. The processor may leave the wait for reasons of its own: ours sleeps a
// millisecond at most, and does not see the store that it waits for sooner.
SILICON_INLINE Outcome monitor_wait(Cpu& cpu, const Insn&) {
    if (cpu.cpl != 0) return cpu.raise(vector_ud);
    if (cpu.control(proc::mwait)) return cpu.stop_with(ExitKind::Unnamed, Reason::Mwait, cpu.monitor_armed);
    if (u32(cpu.gpr[rcx]) & ~1u) return cpu.raise(vector_gp, 0);
    if (!std::exchange(cpu.monitor_armed, false)) return Outcome::Next;
    cpu.nap();
    return Outcome::Leave;
}

// There are no counters, so every index is wrong.
SILICON_INLINE Outcome read_counter(Cpu& cpu, const Insn&) {
    if (cpu.cpl != 0 && !(cpu.cr4 & cr4::pce) && cpu.cr0 & cr0::pe) return cpu.raise(vector_gp, 0);
    return cpu.control(proc::rdpmc) ? cpu.stop_with(ExitKind::Unnamed, Reason::Rdpmc) : cpu.raise(vector_gp, 0);
}

// The instructions of VMX in a guest: each is an exit, from any privilege level, where it is no #UD. `Other` is the position
// of the operand that is a register in any case. Objects do not announce VMX.
bool has_vmx(const Cpu& cpu) {
    const bool compatibility = cpu.efer & efer::lma && !cpu.in_long64();
    return cpu.raw() && cpu.in_protected() && !(cpu.mode & mode::virtual8086) && !compatibility;
}

template <Reason Why, int Other, class... Operands>
SILICON_INLINE Outcome vmx_instruction(Cpu& cpu, const Insn& in) {
    if (!has_vmx(cpu)) return cpu.raise(vector_ud);
    u32 info = 0;
    if constexpr (Other >= 0) info = u32{in.reg[Other]} / 8 << 28;
    if constexpr (sizeof...(Operands) == 0) return cpu.stop_with(ExitKind::Unnamed, Why);
    constexpr bool memory = (Operands::memory || ... || false);
    return cpu.operand_exit(in, Why, info | (memory ? 0 : u32{in.reg[Other == 0 ? 1 : 0]} / 8 << 3), memory);
}

bool shadowed(const Cpu& cpu, u64 field, bool write) {
    return has_vmx(cpu) && cpu.control2(proc2::shadow) && cpu.vmcs.shadow.grants(field, write);
}

void vm_succeeds(Cpu& cpu) { cpu.lazy = LazyFlags::of_bits(0); }

// Served from the shadow VMCS where it grants the field. It has every field that can be granted, and VMWRITE may change all
// of them, so neither can fail. Intel SDM vol. 3, "VMREAD—Read Field From Virtual-Machine Control Structure", "VMWRITE".
template <class Dst, class Which>
SILICON_INLINE Outcome vmread(Cpu& cpu, const Insn& in) {
    const u64 field = Which::load(cpu, in).value;
    if (!shadowed(cpu, field, false)) return vmx_instruction<Reason::Vmread, 1, Dst, Which>(cpu, in);
    if (cpu.cpl != 0) return cpu.raise(vector_gp, 0);
    const Outcome out = Dst::store(cpu, in, typename Dst::type(cpu.vmcs.shadow.read(u32(field))));
    if (out != Outcome::Stop) vm_succeeds(cpu);
    return out;
}

template <class Which, class Src>
SILICON_INLINE Outcome vmwrite(Cpu& cpu, const Insn& in) {
    const u64 field = Which::load(cpu, in).value;
    if (!shadowed(cpu, field, true)) return vmx_instruction<Reason::Vmwrite, 0, Which, Src>(cpu, in);
    if (cpu.cpl != 0) return cpu.raise(vector_gp, 0);
    const auto v = Src::load(cpu, in);
    if (!v.ok) return Outcome::Stop;
    cpu.vmcs.shadow.write(u32(field), v.value);
    vm_succeeds(cpu);
    return Outcome::Next;
}

SILICON_INLINE Outcome get_extended_control(Cpu& cpu, const Insn&) {
    if (!(cpu.cr4 & cr4::osxsave)) return cpu.raise(vector_ud);
    const u32 index = u32(cpu.gpr[rcx]);
    const bool in_use = index == 1 && cpu.cpuid.has(Feature::XGETBV1);
    if (index != 0 && !in_use) return cpu.raise(vector_gp, 0);
    const u64 value = in_use ? cpu.xcr0 & cpu.components_in_use() : cpu.xcr0;
    cpu.gpr[rax] = u32(value);
    cpu.gpr[rdx] = value >> 32;
    return Outcome::Next;
}

// XCR0: x87 always, SSE; there is nothing else. CPUID leaf 0DH says so.
constexpr bool xcr0_allowed(u64 value) { return value & 1 && !(value & ~xcr0_known); }

SILICON_INLINE Outcome set_extended_control(Cpu& cpu, const Insn&) {
    if (!(cpu.cr4 & cr4::osxsave)) return cpu.raise(vector_ud);
    if (cpu.cpl != 0) return cpu.raise(vector_gp, 0);
    if (cpu.raw()) return cpu.stop_with(ExitKind::Unnamed, Reason::Xsetbv);
    const u64 value = u64{u32(cpu.gpr[rdx])} << 32 | u32(cpu.gpr[rax]);
    if (u32(cpu.gpr[rcx]) != 0 || !xcr0_allowed(value)) return cpu.raise(vector_gp, 0);
    cpu.xcr0 = value;
    return Outcome::Next;
}

}  // namespace

#include "ops_processor.inc"

}  // namespace silicon::x86
