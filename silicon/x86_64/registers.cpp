// Registers by HV_X86_* number: one of the two doors to the CpuState, the other is vmcs.cpp. Apple: hv_arch_x86.h.
#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
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
    entry_unchecked_ = true;
    if (reg >= reg_cs && reg < reg_idt_base) return at(selector_order[reg - reg_cs]).selector = u16(value), true;
    if (reg >= reg_dr0 && reg < reg_tpr) {
        const unsigned n = reg - reg_dr0;
        write_debug(n, value);
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
        case reg_cr0: return write_control(cr0, value), true;
        case reg_cr1: return true;
        case reg_cr2: cr2 = value; return true;
        case reg_cr3: return write_control(cr3, value), true;
        case reg_cr4: return write_control(cr4, value), true;
        case reg_tpr: keep_task_priority(value >> 4 & 0xf); return true;
        case reg_xcr0: xcr0 = (value & xcr0_known) | 1; return true;
        default: return false;
    }
}

}  // namespace silicon::x86
