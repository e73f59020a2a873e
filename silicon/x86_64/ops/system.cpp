// Ports, control and debug registers, MSRs, descriptor tables, CPUID. Rows: spec/x86_64/system.toml.
#include "silicon/x86_64/descriptors.h"
#include "silicon/x86_64/interrupt_unit.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

SILICON_INLINE bool privileged(Cpu& cpu) {
    if (cpu.cpl == 0) return true;
    cpu.raise(vector_gp, 0);
    return false;
}

// CR4.UMIP keeps what the tables and the machine status are from user code.
SILICON_INLINE bool may_look(Cpu& cpu) {
    if (cpu.cpl == 0 || !(cpu.cr4 & cr4::umip)) return true;
    cpu.raise(vector_gp, 0);
    return false;
}

constexpr u32 form_immediate = 1 << 6;

// Whether the port is an immediate byte; else it is DX.
template <class T>
struct is_immediate : std::false_type {};
template <class T>
struct is_immediate<I<T>> : std::true_type {};

template <class T, class Dst, class Port>
SILICON_INLINE Outcome input(Cpu& cpu, const Insn& in) {
    constexpr bool immediate = is_immediate<Port>::value;
    const u16 port = immediate ? u8(in.imm) : u16(cpu.gpr[rdx]);
    if (!cpu.port_allowed(port, sizeof(T))) return Outcome::Stop;
    const Slow v = cpu.port_in(port, sizeof(T), 1, immediate ? form_immediate : 0);
    if (v.outcome == Outcome::Next) cpu.set_gpr<T>(rax, T(v.value));
    return v.outcome;
}

template <class T, class Port, class Src>
SILICON_INLINE Outcome output(Cpu& cpu, const Insn& in) {
    constexpr bool immediate = is_immediate<Port>::value;
    const u16 port = immediate ? u8(in.imm) : u16(cpu.gpr[rdx]);
    if (!cpu.port_allowed(port, sizeof(T))) return Outcome::Stop;
    return cpu.port_out(port, sizeof(T), T(cpu.gpr[rax]), immediate ? form_immediate : 0);
}

// Apple's manner: the exit is by control and before the instruction. Ours: always, and behind it.
SILICON_INLINE Outcome halt(Cpu& cpu, const Insn&) {
    if (!privileged(cpu)) return Outcome::Stop;
    if (cpu.unit()) return cpu.unit()->halt();
    if (!cpu.raw()) return cpu.leave_with(ExitKind::Halted, Reason::Hlt);
    if (cpu.control(proc::hlt)) return cpu.stop_with(ExitKind::Halted, Reason::Hlt);
    cpu.activity = 1;
    cpu.request_event();
    return Outcome::Next;
}

constexpr u32 osxsave_bit = 1 << 27;  // CPUID.1:ECX shows CR4.OSXSAVE

SILICON_INLINE Outcome identify(Cpu& cpu, const Insn&) {
    const u32 leaf = u32(cpu.gpr[rax]), subleaf = u32(cpu.gpr[rcx]);
    if (cpu.raw() || cpu.cpuid_exits) {
        const Outcome out = cpu.raw() ? cpu.stop_with(ExitKind::Cpuid, Reason::Cpuid) : cpu.leave_with(ExitKind::Cpuid, Reason::Cpuid);
        cpu.exit.value = u64{subleaf} << 32 | leaf;
        return out;
    }
    CpuidLeaf found = cpu.cpuid.lookup(leaf, subleaf);
    if (cpu.unit()) cpu.unit()->identify(found);
    if (leaf == 1) found.reg[2] = (found.reg[2] & ~osxsave_bit) | (cpu.cr4 & cr4::osxsave ? osxsave_bit : 0);
    cpu.gpr[rax] = found.reg[0];
    cpu.gpr[rbx] = found.reg[1];
    cpu.gpr[rcx] = found.reg[2];
    cpu.gpr[rdx] = found.reg[3];
    return Outcome::Next;
}

template <Reason Why>
SILICON_INLINE Outcome tsc_into_registers(Cpu& cpu) {
    if (cpu.cr4 & cr4::tsd && cpu.cpl != 0) return cpu.raise(vector_gp, 0);
    if (cpu.control(proc::rdtsc)) return cpu.stop_with(ExitKind::Unnamed, Why);
    const u64 now = cpu.tsc();
    cpu.gpr[rax] = u32(now);
    cpu.gpr[rdx] = now >> 32;
    return Outcome::Next;
}

SILICON_INLINE Outcome read_tsc(Cpu& cpu, const Insn&) { return tsc_into_registers<Reason::Rdtsc>(cpu); }

SILICON_INLINE Outcome read_tsc_and_aux(Cpu& cpu, const Insn&) {
    if (cpu.raw() && !cpu.control2(proc2::rdtscp)) return cpu.raise(vector_ud);
    if (const Outcome out = tsc_into_registers<Reason::Rdtscp>(cpu); out != Outcome::Next) return out;
    u64 aux = 0;
    cpu.get_msr(0xc0000103, aux);
    cpu.gpr[rcx] = u32(aux);
    return Outcome::Next;
}

SILICON_INLINE Outcome read_msr(Cpu& cpu, const Insn&) {
    if (!privileged(cpu)) return Outcome::Stop;
    const Slow v = cpu.rdmsr(u32(cpu.gpr[rcx]));
    if (v.outcome != Outcome::Next) return v.outcome;
    cpu.gpr[rax] = u32(v.value);
    cpu.gpr[rdx] = v.value >> 32;
    return Outcome::Next;
}

SILICON_INLINE Outcome write_msr(Cpu& cpu, const Insn&) {
    if (!privileged(cpu)) return Outcome::Stop;
    const Outcome out = cpu.wrmsr(u32(cpu.gpr[rcx]), u64{u32(cpu.gpr[rdx])} << 32 | u32(cpu.gpr[rax]));
    if (out == Outcome::Next) cpu.request_event();
    return out;
}

// Exit qualification of a control-register access. Intel SDM vol. 3, "Exit Qualification for Control-Register Accesses".
constexpr u64 cr_qualification(unsigned number, unsigned kind, unsigned gpr) { return number | kind << 4 | gpr << 8; }

template <class Dst, class Control>
SILICON_INLINE Outcome move_from_control(Cpu& cpu, const Insn& in) {
    if (!privileged(cpu)) return Outcome::Stop;
    const unsigned number = in.reg[1], gpr = in.reg[0] / 8;
    u64 value = 0;
    switch (number) {
        case 0: value = cpu.guest_cr0(); break;
        case 2: value = cpu.cr2; break;
        case 3:
            if (cpu.control(proc::cr3_store)) return cpu.stop_with(ExitKind::CrAccess, Reason::CrAccess, cr_qualification(3, 1, gpr));
            value = cpu.cr3;
            break;
        case 4: value = cpu.guest_cr4(); break;
        case 8:
            if (cpu.control(proc::cr8_store)) return cpu.stop_with(ExitKind::CrAccess, Reason::CrAccess, cr_qualification(8, 1, gpr));
            value = cpu.cr8;
            break;
        default: return cpu.raise(vector_ud);
    }
    return Dst::store(cpu, in, typename Dst::type(value));
}

// Masked bits stay with the host: a write that would change one relative to the shadow exits.
Outcome write_masked(Cpu& cpu, unsigned number, u64 value, u64 mask, u64 shadow, u64 real, unsigned gpr) {
    if ((value ^ shadow) & mask) return cpu.stop_with(ExitKind::CrAccess, Reason::CrAccess, cr_qualification(number, 0, gpr));
    value = (value & ~mask) | (real & mask);
    return number == 0 ? cpu.set_cr0(value) : cpu.set_cr4(value);
}

template <class Control, class Src>
SILICON_INLINE Outcome move_to_control(Cpu& cpu, const Insn& in) {
    if (!privileged(cpu)) return Outcome::Stop;
    const unsigned number = in.reg[0], gpr = in.reg[1] / 8;
    const u64 value = Src::load(cpu, in).value;
    Outcome out = Outcome::Next;
    switch (number) {
        case 0: out = write_masked(cpu, 0, value, cpu.vmcs.cr0_mask, cpu.vmcs.cr0_shadow, cpu.cr0, gpr); break;
        case 2: cpu.cr2 = value; break;
        case 3:
            if (cpu.cr3_load_exits(value)) return cpu.stop_with(ExitKind::CrAccess, Reason::CrAccess, cr_qualification(3, 0, gpr));
            out = cpu.set_cr3(value);
            break;
        case 4: out = write_masked(cpu, 4, value, cpu.vmcs.cr4_mask, cpu.vmcs.cr4_shadow, cpu.cr4, gpr); break;
        case 8:
            if (cpu.control(proc::cr8_load)) return cpu.stop_with(ExitKind::CrAccess, Reason::CrAccess, cr_qualification(8, 0, gpr));
            if (value >> 4) return cpu.raise(vector_gp, 0);
            out = cpu.set_task_priority(value);
            break;
        default: return cpu.raise(vector_ud);
    }
    if (out == Outcome::Next) cpu.request_event();
    return out;
}

// DR4 and DR5 are names of DR6 and DR7 unless CR4.DE makes them #UD.
bool debug_register(Cpu& cpu, unsigned& number) {
    if (number == 4 || number == 5) {
        if (cpu.cr4 & cr4::de) return cpu.raise(vector_ud), false;
        number += 2;
    }
    return number < 8 || (cpu.raise(vector_ud), false);
}

template <class Dst, class Debug>
SILICON_INLINE Outcome move_from_debug(Cpu& cpu, const Insn& in) {
    unsigned number = in.reg[1];
    if (cpu.control(proc::mov_dr)) return cpu.stop_with(ExitKind::DrAccess, Reason::DrAccess, number | 1 << 4 | in.reg[0] / 8 << 8);
    if (!privileged(cpu) || !debug_register(cpu, number) || cpu.debug_registers_guarded()) return Outcome::Stop;
    return Dst::store(cpu, in, typename Dst::type(cpu.dr[number]));
}

template <class Debug, class Src>
SILICON_INLINE Outcome move_to_debug(Cpu& cpu, const Insn& in) {
    unsigned number = in.reg[0];
    if (cpu.control(proc::mov_dr)) return cpu.stop_with(ExitKind::DrAccess, Reason::DrAccess, number | in.reg[1] / 8 << 8);
    if (!privileged(cpu) || !debug_register(cpu, number) || cpu.debug_registers_guarded()) return Outcome::Stop;
    const u64 value = Src::load(cpu, in).value;
    if (number >= 6 && value >> 32) return cpu.raise(vector_gp, 0);
    cpu.write_debug(number, value);
    return Outcome::Next;
}

SILICON_INLINE Outcome clear_task_switched(Cpu& cpu, const Insn&) {
    if (!privileged(cpu)) return Outcome::Stop;
    if (!(cpu.vmcs.cr0_mask & cr0::ts)) return cpu.set_cr0(cpu.cr0 & ~cr0::ts);
    if (cpu.vmcs.cr0_shadow & cr0::ts) return cpu.stop_with(ExitKind::CrAccess, Reason::CrAccess, cr_qualification(0, 2, 0));
    return Outcome::Next;  // the guest's TS, as it sees it, is clear already
}

// PE can be set this way, not cleared.
template <class Src>
SILICON_INLINE Outcome load_machine_status(Cpu& cpu, const Insn& in) {
    if (!privileged(cpu)) return Outcome::Stop;
    const auto v = Src::load(cpu, in);
    if (!v.ok) return Outcome::Stop;
    const u64 mask = cpu.vmcs.cr0_mask, source = v.value, changed = (source ^ cpu.vmcs.cr0_shadow) & mask;
    if (changed & 0xe || changed & source & cr0::pe) {
        const u64 qualification = cr_qualification(0, 3, 0) | u64{Src::memory} << 6 | (source & 0xffff) << 16;
        cpu.stop_with(ExitKind::CrAccess, Reason::CrAccess, qualification);
        if constexpr (Src::memory) cpu.exit.gva = cpu.linear<u16>(in, Access::Read).value;
        return Outcome::Stop;
    }
    const u64 taken = 0xf & ~mask;
    const Outcome out = cpu.set_cr0((cpu.cr0 & ~(taken & 0xe)) | (source & taken));
    cpu.request_event();
    return out;
}

template <class Dst>
SILICON_INLINE Outcome store_machine_status(Cpu& cpu, const Insn& in) {
    return may_look(cpu) ? Dst::store(cpu, in, typename Dst::type(cpu.guest_cr0())) : Outcome::Stop;
}

// The operand is a limit of 16 bits and a base of 24 (16-bit operands), 32 or 64 bits.
template <bool Gdt, class Memory, class T>
SILICON_INLINE Outcome load_table(Cpu& cpu, const Insn& in) {
    if (!privileged(cpu)) return Outcome::Stop;
    if (cpu.control2(proc2::descriptor_table)) return cpu.descriptor_exit(in, Reason::GdtrIdtr, Gdt ? 2 : 3, true, sizeof(T));
    const u64 start = cpu.offset_of(in);
    const unsigned base_bytes = cpu.in_long64() ? 8 : 4;
    const Linear at = cpu.segment_linear(in.seg, start, 2 + base_bytes, Access::Read);
    if (!at.ok) return Outcome::Stop;
    const auto limit = cpu.load<u16>(at.value);
    if (!limit.ok) return Outcome::Stop;
    u64 base = 0;
    if (base_bytes == 8) {
        const auto v = cpu.load<u64>(at.value + 2);
        if (!v.ok) return Outcome::Stop;
        if (!cpu.canonical_base(v.value)) return cpu.raise(vector_gp, 0);
        base = v.value;
    } else {
        const auto v = cpu.load<u32>(at.value + 2);
        if (!v.ok) return Outcome::Stop;
        base = sizeof(T) == 2 ? v.value & 0xffffff : v.value;
    }
    (Gdt ? cpu.gdtr : cpu.idtr) = TableRegister{base, limit.value};
    return Outcome::Next;
}

template <bool Gdt, class Memory, class T>
SILICON_INLINE Outcome store_table(Cpu& cpu, const Insn& in) {
    if (cpu.control2(proc2::descriptor_table)) return cpu.descriptor_exit(in, Reason::GdtrIdtr, Gdt ? 0 : 1, true, sizeof(T));
    if (!may_look(cpu)) return Outcome::Stop;
    const TableRegister& table = Gdt ? cpu.gdtr : cpu.idtr;
    const unsigned base_bytes = cpu.in_long64() ? 8 : 4;
    const Linear at = cpu.segment_linear(in.seg, cpu.offset_of(in), 2 + base_bytes, Access::Write);
    if (!at.ok) return Outcome::Stop;
    const Outcome first = cpu.store<u16>(at.value, u16(table.limit));
    if (first == Outcome::Stop) return first;
    const Outcome second =
        base_bytes == 8 ? cpu.store<u64>(at.value + 2, table.base) : cpu.store<u32>(at.value + 2, u32(table.base));
    return second == Outcome::Next ? first : second;
}

template <class Src>
SILICON_INLINE Outcome load_ldt(Cpu& cpu, const Insn& in) {
    if (!cpu.has_descriptors() || !privileged(cpu)) return Outcome::Stop;
    if (cpu.control2(proc2::descriptor_table)) return cpu.descriptor_exit(in, Reason::LdtrTr, 2, Src::memory, 2);
    const auto v = Src::load(cpu, in);
    return v.ok && cpu.load_system_segment(Seg::Ldtr, v.value) ? Outcome::Next : Outcome::Stop;
}

template <class Src>
SILICON_INLINE Outcome load_task(Cpu& cpu, const Insn& in) {
    if (!cpu.has_descriptors() || !privileged(cpu)) return Outcome::Stop;
    if (cpu.control2(proc2::descriptor_table)) return cpu.descriptor_exit(in, Reason::LdtrTr, 3, Src::memory, 2);
    const auto v = Src::load(cpu, in);
    return v.ok && cpu.load_system_segment(Seg::Tr, v.value) ? Outcome::Next : Outcome::Stop;
}

template <Seg Which, class Dst>
SILICON_INLINE Outcome store_selector(Cpu& cpu, const Insn& in) {
    if (!cpu.in_protected() || cpu.mode & mode::virtual8086) return cpu.raise(vector_ud);
    if (cpu.control2(proc2::descriptor_table)) return cpu.descriptor_exit(in, Reason::LdtrTr, Which == Seg::Ldtr ? 0 : 1, Dst::memory, 2);
    return may_look(cpu) ? Dst::store(cpu, in, typename Dst::type(cpu.at(Which).selector)) : Outcome::Stop;
}

template <class Any>
SILICON_INLINE Outcome invalidate_page(Cpu& cpu, const Insn& in) {
    if (!privileged(cpu)) return Outcome::Stop;
    const u64 offset = cpu.offset_of(in);
    const bool based = in.seg == Seg::Fs || in.seg == Seg::Gs || !cpu.in_long64();
    const u64 linear = offset + (based ? cpu.at(in.seg).base : 0);
    if (cpu.control(proc::invlpg)) return cpu.stop_with(ExitKind::Unnamed, Reason::Invlpg, linear);
    cpu.flush_page(linear);
    return Outcome::Next;
}

SILICON_INLINE Outcome drop_caches(Cpu& cpu, const Insn&) {
    if (!privileged(cpu)) return Outcome::Stop;
    return cpu.raw() ? cpu.stop_with(ExitKind::Unnamed, Reason::Invd) : Outcome::Next;
}

SILICON_INLINE Outcome flush_caches(Cpu& cpu, const Insn&) {
    if (!privileged(cpu)) return Outcome::Stop;
    return cpu.control2(proc2::wbinvd) ? cpu.stop_with(ExitKind::Unnamed, Reason::Wbinvd) : Outcome::Next;
}

constexpr u32 msr_kernel_gs_base = 0xc0000102, msr_star = 0xc0000081, msr_lstar = 0xc0000082, msr_fmask = 0xc0000084;

SILICON_INLINE Outcome swap_gs(Cpu& cpu, const Insn&) {
    if (!privileged(cpu)) return Outcome::Stop;
    std::swap(cpu.at(Seg::Gs).base, cpu.plain_msrs[msr_kernel_gs_base]);
    return Outcome::Next;
}

Segment flat_segment(u16 selector, bool code, bool long_code, unsigned dpl) {
    u32 rights = ar::present | ar::s | ar::accessed | ar::writable | ar::g | u32{dpl} << ar::dpl_shift;
    if (code) rights |= ar::code;
    rights |= long_code ? ar::l : ar::db;
    return {0, 0xffffffff, rights, selector};
}

// Intel SDM vol. 2, "SYSCALL—Fast System Call".
SILICON_INLINE Outcome system_call(Cpu& cpu, const Insn& in) {
    if (!(cpu.efer & efer::sce)) return cpu.raise(vector_ud);
    const u64 star = cpu.plain_msrs[msr_star], flags = cpu.all_rflags();
    cpu.gpr[rcx] = cpu.next_rip(in);
    cpu.gpr[r11] = flags & ~flag::rf;
    cpu.rip = cpu.plain_msrs[msr_lstar];
    cpu.set_rflags(0, cpu.plain_msrs[msr_fmask] | flag::rf);
    const u16 selector = u16(star >> 32 & 0xfffc);
    cpu.at(Seg::Cs) = flat_segment(selector, true, true, 0);
    cpu.at(Seg::Ss) = flat_segment(u16(selector + 8), false, false, 0);
    cpu.update_mode();
    cpu.request_event();
    return Outcome::Next;
}

// Intel SDM vol. 2, "SYSRET—Return From Fast System Call".
template <class T>
SILICON_INLINE Outcome system_return(Cpu& cpu, const Insn&) {
    if (!(cpu.efer & efer::sce)) return cpu.raise(vector_ud);
    if (!privileged(cpu)) return Outcome::Stop;
    const u64 target = cpu.gpr[rcx];
    constexpr bool to_long = sizeof(T) == 8;
    if (to_long && !cpu.canonical(target)) return cpu.raise(vector_gp, 0);
    const u16 star = u16(cpu.plain_msrs[msr_star] >> 48);
    cpu.at(Seg::Cs) = flat_segment(u16((star + (to_long ? 16 : 0)) | 3), true, to_long, 3);
    cpu.at(Seg::Ss) = flat_segment(u16((star + 8) | 3), false, false, 3);
    cpu.rip = to_long ? target : u32(target);
    cpu.set_rflags(cpu.gpr[r11], flag::all & ~(flag::rf | flag::vm));
    cpu.update_mode();
    cpu.request_event();
    return Outcome::Next;
}

SILICON_INLINE Outcome hypercall(Cpu& cpu, const Insn&) {
    return cpu.raw() ? cpu.stop_with(ExitKind::Hypercall, Reason::Vmcall) : cpu.leave_with(ExitKind::Hypercall, Reason::Vmcall);
}

SILICON_INLINE void fence(Cpu&, const Insn&) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// A load of one byte, for its faults.
template <class Any>
SILICON_INLINE Outcome flush_line(Cpu& cpu, const Insn& in) {
    const Linear at = cpu.linear<u8>(in, Access::Read);
    return at.ok && cpu.load<u8>(at.value).ok ? Outcome::Next : Outcome::Stop;
}

template <class Any>
SILICON_INLINE void prefetch(Cpu&, const Insn&) {}

}  // namespace

#include "ops_system.inc"

}  // namespace silicon::x86
