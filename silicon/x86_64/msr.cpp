// Model-specific registers. Intel SDM vol. 4, "Architectural MSRs".
#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/interrupt_unit.h"

namespace silicon::x86 {

namespace msr {
constexpr u32 tsc = 0x10, apic_base = 0x1b, mtrr_cap = 0xfe, sysenter_cs = 0x174, sysenter_esp = 0x175, sysenter_eip = 0x176;
constexpr u32 misc_enable = 0x1a0, debugctl = 0x1d9, pat = 0x277, mtrr_def_type = 0x2ff, efer = 0xc0000080, star = 0xc0000081;
constexpr u32 lstar = 0xc0000082, cstar = 0xc0000083, fmask = 0xc0000084, fs_base = 0xc0000100, gs_base = 0xc0000101;
constexpr u32 kernel_gs_base = 0xc0000102, tsc_aux = 0xc0000103;
constexpr u32 spec_ctrl = 0x48, pred_cmd = 0x49, bios_sign_id = 0x8b, arch_capabilities = 0x10a, xss = 0xda0;
}  // namespace msr

// Nothing is speculated, so every weakness that has a bit is absent: RDCL, L1D at VM entry, SSB, MDS, page-size changes, TAA,
// SBDR, FBSDP, PSDP, BHI, PBRSB, GDS, RFDS, ITS; and IBRS holds always. Intel SDM vol. 4, "IA32_ARCH_CAPABILITIES".
constexpr u64 nothing_is_speculated = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 14 | 1 << 15 |
                                      1 << 20 | 1 << 24 | 1 << 26 | 1 << 27 | u64{1} << 62;

void Cpu::reset_msrs() {
    for (const u32 kept : {msr::sysenter_cs, msr::sysenter_esp, msr::sysenter_eip, msr::debugctl, msr::star, msr::lstar, msr::cstar,
                           msr::fmask, msr::kernel_gs_base, msr::tsc_aux, msr::spec_ctrl})
        plain_msrs[kept] = 0;
    if (raw_) plain_msrs[msr::xss] = 0;  // Apple's manner: a client may make it native
    plain_msrs[msr::arch_capabilities] = nothing_is_speculated;
    plain_msrs[msr::misc_enable] = 1;  // fast strings
    plain_msrs[msr::pat] = 0x0007040600070406;
    plain_msrs[msr::apic_base] = 0xfee00000 | (index_ == 0 ? 1 << 8 : 0);
}

bool Cpu::get_msr(u32 number, u64& value) {
    switch (number) {
        case msr::tsc: value = tsc(); return true;
        case msr::efer: value = efer; return true;
        case msr::fs_base: value = at(Seg::Fs).base; return true;
        case msr::gs_base: value = at(Seg::Gs).base; return true;
        case msr::bios_sign_id: value = 0; return !raw_;  // the microcode update that CPUID found: none
        default: break;
    }
    const auto found = plain_msrs.find(number);
    if (found == plain_msrs.end()) return false;
    value = found->second;
    return true;
}

bool Cpu::set_msr(u32 number, u64 value) {
    const bool address = number == msr::fs_base || number == msr::gs_base || number == msr::kernel_gs_base || number == msr::lstar ||
                         number == msr::cstar || number == msr::sysenter_esp || number == msr::sysenter_eip;
    if (address && !canonical_base(value)) return false;
    switch (number) {
        case msr::tsc: tsc_offset = value - clock_.now_ns(); return true;
        case msr::efer: return set_efer(value);
        case msr::fs_base: at(Seg::Fs).base = value; return true;
        case msr::gs_base: at(Seg::Gs).base = value; return true;
        case msr::mtrr_cap:
        case msr::arch_capabilities: return false;
        case msr::bios_sign_id: return !raw_;  // cleared before CPUID, which writes what it finds
        case msr::pred_cmd: return value <= 1;  // a command, and there is nothing to predict: it cannot be read
        default: break;
    }
    const auto found = plain_msrs.find(number);
    if (found == plain_msrs.end()) return false;
    if (number == msr::tsc_aux && value >> 32) return false;
    if ((number == msr::spec_ctrl && value & ~u64{7}) || (number == msr::xss && value != 0)) return false;
    found->second = value;
    return true;
}

Slow Cpu::rdmsr(u32 number) {
    u64 value = 0;
    if (const Piece* piece = pieces_.take(Piece::Kind::MsrRead, number, 8)) {
        if (piece->refused) return {0, raise(vector_gp, 0)};
        return {piece->value, Outcome::Next};
    }
    if (unit_owns_msr(number)) return unit_->rdmsr(number);
    const bool leaves = msr_exits(number, false);
    if (!leaves && get_msr(number, value)) return {value, Outcome::Next};
    if (!leaves && !unknown_msrs_exit) return {0, raise(vector_gp, 0)};
    stop_with(ExitKind::MsrRead, Reason::Rdmsr);
    exit.msr = number;
    unanswered_ = !raw_;
    return {0, Outcome::Stop};
}

Outcome Cpu::wrmsr(u32 number, u64 value) {
    if (const Piece* piece = pieces_.take(Piece::Kind::MsrWrite, number, 8)) return piece->refused ? raise(vector_gp, 0) : Outcome::Next;
    if (unit_owns_msr(number)) return unit_->wrmsr(number, value);
    const bool leaves = msr_exits(number, true);
    u64 old = 0;
    if (!leaves && set_msr(number, value)) return Outcome::Next;
    if (!leaves && (!unknown_msrs_exit || get_msr(number, old))) return raise(vector_gp, 0);
    stop_with(ExitKind::MsrWrite, Reason::Wrmsr);
    exit.msr = number;
    exit.value = value;
    unanswered_ = !raw_;
    return Outcome::Stop;
}

std::optional<u64> Cpu::random_number(const Insn& in) {
    if (!clock_.counts_instructions()) return entropy_.next();
    // The mixing of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators").
    const u64 before = instructions_ + static_cast<u64>(granted_ - remaining) - block_->count + static_cast<u64>(&in - block_->insns);
    u64 mixed = (before * 64 + index_ + 1) * 0x9e3779b97f4a7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return mixed ^ mixed >> 31;
}

}  // namespace silicon::x86
