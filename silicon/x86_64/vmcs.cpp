// One state, two doors: registers by HV_X86_* number and VMCS fields, over the same CpuState.
// Intel SDM vol. 3, appendices "Field Encoding in VMCS" and "VMX Capability Reporting Facility".
#include "silicon/x86_64/vmcs.h"

#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
namespace {

// VMCS encodings that this file names; runs of segment fields are counted from their first.
namespace field {
constexpr u32 guest_selector = 0x800, guest_limit = 0x4800, guest_rights = 0x4814, guest_base = 0x6806;
constexpr u32 gdtr_limit = 0x4810, idtr_limit = 0x4812, gdtr_base = 0x6816, idtr_base = 0x6818;
constexpr u32 interruptibility = 0x4824, activity = 0x4826, sysenter_cs = 0x482a, sysenter_esp = 0x6824, sysenter_eip = 0x6826;
constexpr u32 debugctl = 0x2802, pat = 0x2804, efer = 0x2806, tsc_offset = 0x2010;
constexpr u32 entry_controls = 0x4012;
}  // namespace field

// Index into CpuState::seg for one of eight fields in a row, or -1.
int segment_index(u32 encoding, u32 first) {
    if (encoding < first || encoding >= first + 16 || (encoding - first) % 2) return -1;
    return static_cast<int>((encoding - first) / 2);
}

template <class T>
struct Field {
    u32 encoding;
    T Vmcs::*member;
};
constexpr Field<u32> controls32[] = {
    {0x4000, &Vmcs::pin}, {0x4002, &Vmcs::proc}, {0x401e, &Vmcs::proc2}, {0x400c, &Vmcs::exit_controls},
    {0x4012, &Vmcs::entry_controls}, {0x4004, &Vmcs::exception_bitmap}, {0x4006, &Vmcs::page_fault_mask},
    {0x4008, &Vmcs::page_fault_match}, {0x400a, &Vmcs::cr3_count}, {0x4016, &Vmcs::entry_info},
    {0x4018, &Vmcs::entry_error}, {0x401a, &Vmcs::entry_length},
};
constexpr Field<u64> controls64[] = {
    {0x6000, &Vmcs::cr0_mask}, {0x6002, &Vmcs::cr4_mask}, {0x6004, &Vmcs::cr0_shadow}, {0x6006, &Vmcs::cr4_shadow},
};
struct Guest64 {
    u32 encoding;
    u64 CpuState::*member;
};
constexpr Guest64 guest64[] = {{0x6800, &CpuState::cr0}, {0x6802, &CpuState::cr3}, {0x6804, &CpuState::cr4},
                               {0x681e, &CpuState::rip}, {0x6820, &CpuState::rflags}, {field::efer, &CpuState::efer}};
struct MsrField {
    u32 encoding, msr;
};
constexpr MsrField msr_fields[] = {{field::debugctl, 0x1d9}, {field::pat, 0x277}, {field::sysenter_cs, 0x174},
                                   {field::sysenter_esp, 0x175}, {field::sysenter_eip, 0x176}};
// Fields that have no effect here and read back what was written: VPID, guest PDPTEs, link pointer, SMBASE, pending debug
// exceptions, PERF_GLOBAL_CTRL, TPR threshold, PLE, CR3 targets, bitmaps, MSR lists, the preemption timer's value.
constexpr u32 kept_fields[] = {0x0000, 0x2000, 0x2002, 0x2004, 0x2006, 0x2008, 0x200a, 0x200c, 0x2012, 0x2014, 0x2800, 0x2808,
                               0x280a, 0x280c, 0x280e, 0x2810, 0x400e, 0x4010, 0x4014, 0x401c, 0x4020, 0x4022, 0x4828, 0x482e,
                               0x6008, 0x600a, 0x600c, 0x600e, 0x6822};

bool is_kept(u32 encoding) {
    for (const u32 kept : kept_fields)
        if (kept == encoding) return true;
    return false;
}

bool read_exit_field(const ExitRecord& exit, u32 instruction_error, u32 encoding, u64& value) {
    switch (encoding) {
        case 0x4400: value = instruction_error; return true;
        case 0x4402: value = static_cast<u32>(exit.reason); return true;
        case 0x4404: value = exit.interruption_info; return true;
        case 0x4406: value = exit.interruption_error; return true;
        case 0x4408: value = exit.vectoring_info; return true;
        case 0x440a: value = exit.vectoring_error; return true;
        case 0x440c: value = exit.length_bytes; return true;
        case 0x440e: value = exit.instruction_info; return true;
        case 0x6400: value = exit.qualification; return true;
        case 0x640a: value = exit.gva; return true;
        case 0x2400: value = exit.gpa; return true;
        case 0x6402:
        case 0x6404:
        case 0x6406:
        case 0x6408: value = 0; return true;
        default: return false;
    }
}

}  // namespace

// Reserved bits are those that the SDM calls default1 in the "true" words.
u64 Capabilities::word(unsigned which, bool& known) {
    known = true;
    switch (which) {
        case 0:
        case 6: return make(0x16, pin::external_interrupt | pin::nmi | pin::virtual_nmi);
        case 1:
        case 7:
            return make(0x04006172 | proc::io | proc::secondary,
                        proc::interrupt_window | proc::tsc_offset | proc::hlt | proc::invlpg | proc::rdtsc | proc::cr3_load |
                            proc::cr3_store | proc::cr8_load | proc::cr8_store | proc::mov_dr | proc::msr_bitmaps | proc::pause);
        case 2: return make(proc2::ept | proc2::unrestricted, proc2::rdtscp | proc2::vpid | proc2::wbinvd);
        case 3:
        case 8: return make(0x11fb, entry_control::debug_controls | entry_control::ia32e | entry_control::load_pat | entry_control::load_efer);
        case 4:
        case 9:
            return make(0x36dfb, exit_control::debug_controls | exit_control::ack | exit_control::save_pat | exit_control::load_pat |
                                     exit_control::save_efer | exit_control::load_efer);
        case 5: return u64{1} << 55 | u64{4096} << 32 | 1;  // true controls; region size; revision
        case 10: return u64{1} << 6;                        // HLT is a supported activity state
        case 11: return 0x80000021;
        case 12: return 0xffffffff;
        case 13: return cr4::vmxe;
        case 14: return 0x27ff;
        case 15: return 0x2e;
        case 16: return 0x06114141;  // 4-level walks, write-back, 2 MiB and 1 GiB pages, execute-only, INVEPT, INVVPID
        case 32: return 0;
        default: known = false; return 0;
    }
}

Vmcs::Vmcs() {
    bool known = false;
    pin = u32(Capabilities::word(0, known));
    proc = u32(Capabilities::word(1, known));
    proc2 = u32(Capabilities::word(2, known));
    entry_controls = u32(Capabilities::word(3, known));
    exit_controls = u32(Capabilities::word(4, known));
    for (const u32 encoding : kept_fields) kept[encoding] = 0;
    kept[0x2800] = ~u64{0};
}

const char* Cpu::entry_problem() const {
    const struct {
        unsigned word;
        u32 value;
        const char* problem;
    } checks[] = {
        {0, vmcs.pin, "VMCS_CTRL_PIN_BASED is outside HV_VMX_CAP_PINBASED"},
        {1, vmcs.proc, "VMCS_CTRL_CPU_BASED is outside HV_VMX_CAP_PROCBASED"},
        {2, vmcs.proc2, "VMCS_CTRL_CPU_BASED2 is outside HV_VMX_CAP_PROCBASED2"},
        {3, vmcs.entry_controls, "VMCS_CTRL_VMENTRY_CONTROLS is outside HV_VMX_CAP_ENTRY"},
        {4, vmcs.exit_controls, "VMCS_CTRL_VMEXIT_CONTROLS is outside HV_VMX_CAP_EXIT"},
    };
    for (const auto& check : checks) {
        bool known = false;
        const u64 word = Capabilities::word(check.word, known);
        if ((check.value & u32(word)) != u32(word) || check.value & ~u32(word >> 32)) return check.problem;
    }
    return nullptr;
}

bool Cpu::read_vmcs(u32 encoding, u64& value) const {
    if (read_exit_field(exit, vmcs.instruction_error, encoding, value)) return true;
    if (const int n = segment_index(encoding, field::guest_selector); n >= 0) return value = seg[size_t(n)].selector, true;
    if (const int n = segment_index(encoding, field::guest_rights); n >= 0) return value = seg[size_t(n)].rights, true;
    if (const int n = segment_index(encoding, field::guest_limit); n >= 0) return value = seg[size_t(n)].limit, true;
    if (const int n = segment_index(encoding, field::guest_base); n >= 0) return value = seg[size_t(n)].base, true;
    for (const auto& f : guest64)
        if (f.encoding == encoding) return value = this->*f.member, true;
    for (const auto& f : controls64)
        if (f.encoding == encoding) return value = vmcs.*f.member, true;
    for (const auto& f : msr_fields)
        if (f.encoding == encoding) return value = plain_msrs.at(f.msr), true;
    if (encoding == field::entry_controls) {  // the guest may have changed mode without an exit
        const u32 other = vmcs.entry_controls & ~entry_control::ia32e;
        return value = other | (efer & efer::lma ? entry_control::ia32e : 0), true;
    }
    for (const auto& f : controls32)
        if (f.encoding == encoding) return value = vmcs.*f.member, true;
    switch (encoding) {
        case 0x681a: value = dr[7]; return true;
        case 0x681c: value = gpr[rsp]; return true;
        case field::gdtr_limit: value = gdtr.limit; return true;
        case field::idtr_limit: value = idtr.limit; return true;
        case field::gdtr_base: value = gdtr.base; return true;
        case field::idtr_base: value = idtr.base; return true;
        case field::interruptibility: value = interruptibility; return true;
        case field::activity: value = activity; return true;
        case field::tsc_offset: value = tsc_offset; return true;
        default: break;
    }
    if (!is_kept(encoding)) return false;
    value = vmcs.kept.at(encoding);
    return true;
}

bool Cpu::write_vmcs(u32 encoding, u64 value) {
    u64 ignored = 0;
    if (read_exit_field(exit, 0, encoding, ignored)) return false;  // read-only
    if (const int n = segment_index(encoding, field::guest_selector); n >= 0) return seg[size_t(n)].selector = u16(value), true;
    const auto changed = [&] { return state_changed(), true; };
    if (const int n = segment_index(encoding, field::guest_rights); n >= 0) return seg[size_t(n)].rights = u32(value), changed();
    if (const int n = segment_index(encoding, field::guest_limit); n >= 0) return seg[size_t(n)].limit = u32(value), changed();
    if (const int n = segment_index(encoding, field::guest_base); n >= 0) return seg[size_t(n)].base = value, changed();
    for (const auto& f : guest64) {
        if (f.encoding != encoding) continue;
        if (f.member == &CpuState::rip) abandon();
        this->*f.member = value;
        return changed();
    }
    for (const auto& f : controls64)
        if (f.encoding == encoding) return vmcs.*f.member = value, true;
    for (const auto& f : msr_fields)
        if (f.encoding == encoding) return plain_msrs[f.msr] = value, true;
    for (const auto& f : controls32)
        if (f.encoding == encoding) return vmcs.*f.member = u32(value), true;
    switch (encoding) {
        case 0x681a: dr[7] = value; return true;
        case 0x681c: gpr[rsp] = value; return true;
        case field::gdtr_limit: gdtr.limit = u32(value); return true;
        case field::idtr_limit: idtr.limit = u32(value); return true;
        case field::gdtr_base: gdtr.base = value; return true;
        case field::idtr_base: idtr.base = value; return true;
        case field::interruptibility: interruptibility = u8(value); return true;
        case field::activity: activity = u8(value); return true;
        case field::tsc_offset: tsc_offset = value; return true;
        default: break;
    }
    if (!is_kept(encoding)) return false;
    vmcs.kept[encoding] = value;
    return true;
}

namespace {

// HV_X86_* numbers from RAX on, in Apple's order, as indices of CpuState::gpr.
constexpr u8 gpr_order[] = {rax, rcx, rdx, rbx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15};
constexpr Seg selector_order[] = {Seg::Cs, Seg::Ss, Seg::Ds, Seg::Es, Seg::Fs, Seg::Gs};
enum : unsigned {
    reg_rip = 0, reg_rflags = 1, reg_rax = 2, reg_cs = 18, reg_idt_base = 24, reg_idt_limit, reg_gdt_base, reg_gdt_limit,
    reg_ldtr, reg_ldt_base, reg_ldt_limit, reg_ldt_ar, reg_tr, reg_tss_base, reg_tss_limit, reg_tss_ar, reg_cr0, reg_cr1,
    reg_cr2, reg_cr3, reg_cr4, reg_dr0, reg_tpr = 49, reg_xcr0 = 50,
};

}  // namespace

bool Cpu::read_register(unsigned reg, u64& value) const {
    if (reg >= reg_rax && reg < reg_cs) return value = gpr[gpr_order[reg - reg_rax]], true;
    if (reg >= reg_cs && reg < reg_idt_base) return value = at(selector_order[reg - reg_cs]).selector, true;
    if (reg >= reg_dr0 && reg < reg_tpr) return value = dr[reg - reg_dr0], true;
    const Segment &ldt = at(Seg::Ldtr), &tr = at(Seg::Tr);
    switch (reg) {
        case reg_rip: value = rip; return true;
        case reg_rflags: value = rflags; return true;
        case reg_idt_base: value = idtr.base; return true;
        case reg_idt_limit: value = idtr.limit; return true;
        case reg_gdt_base: value = gdtr.base; return true;
        case reg_gdt_limit: value = gdtr.limit; return true;
        case reg_ldtr: value = ldt.selector; return true;
        case reg_ldt_base: value = ldt.base; return true;
        case reg_ldt_limit: value = ldt.limit; return true;
        case reg_ldt_ar: value = ldt.rights; return true;
        case reg_tr: value = tr.selector; return true;
        case reg_tss_base: value = tr.base; return true;
        case reg_tss_limit: value = tr.limit; return true;
        case reg_tss_ar: value = tr.rights; return true;
        case reg_cr0: value = cr0; return true;
        case reg_cr1: value = 0; return true;
        case reg_cr2: value = cr2; return true;
        case reg_cr3: value = cr3; return true;
        case reg_cr4: value = cr4; return true;
        case reg_tpr: value = cr8 << 4; return true;
        case reg_xcr0: value = xcr0; return true;
        default: return false;
    }
}

bool Cpu::write_register(unsigned reg, u64 value) {
    if (reg >= reg_rax && reg < reg_cs) return gpr[gpr_order[reg - reg_rax]] = value, true;
    if (reg >= reg_cs && reg < reg_idt_base) return at(selector_order[reg - reg_cs]).selector = u16(value), true;
    if (reg >= reg_dr0 && reg < reg_tpr) {
        const unsigned n = reg - reg_dr0;
        dr[n] = n == 6 ? (value & 0xe00f) | 0xffff0ff0 : n == 7 ? value | 0x400 : value;
        return true;
    }
    Segment &ldt = at(Seg::Ldtr), &tr = at(Seg::Tr);
    const auto changed = [&] { return state_changed(), true; };
    switch (reg) {
        case reg_rip:
            abandon();
            rip = value;
            return true;
        case reg_rflags: rflags = value | flag::always; return changed();
        case reg_idt_base: idtr.base = value; return true;
        case reg_idt_limit: idtr.limit = u32(value); return true;
        case reg_gdt_base: gdtr.base = value; return true;
        case reg_gdt_limit: gdtr.limit = u32(value); return true;
        case reg_ldtr: ldt.selector = u16(value); return true;
        case reg_ldt_base: ldt.base = value; return true;
        case reg_ldt_limit: ldt.limit = u32(value); return true;
        case reg_ldt_ar: ldt.rights = u32(value); return true;
        case reg_tr: tr.selector = u16(value); return true;
        case reg_tss_base: tr.base = value; return true;
        case reg_tss_limit: tr.limit = u32(value); return true;
        case reg_tss_ar: tr.rights = u32(value); return true;
        case reg_cr0: cr0 = value; return changed();
        case reg_cr1: return true;
        case reg_cr2: cr2 = value; return true;
        case reg_cr3: cr3 = value; return changed();
        case reg_cr4: cr4 = value; return changed();
        case reg_tpr: cr8 = value >> 4 & 0xf; return true;
        case reg_xcr0: xcr0 = (value & 7) | 1; return true;
        default: return false;
    }
}

}  // namespace silicon::x86
