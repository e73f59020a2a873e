// VM entry: what the controls and the guest state must be, and what an entry takes from them.
// Intel SDM vol. 3, chapter "VM Entries". A rule that is broken is named: by the error of the entry where it is one of the
// controls, in the exit (reason 33) where it is one of the guest state.
#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
namespace {

constexpr u32 failed_entry = u32{1} << 31;  // of the exit reason
constexpr u64 by_pdptes = 2, by_nmi = 3, by_link_pointer = 4;  // exit qualification of a failed entry

bool canonical(u64 at, const CpuState& s) { return Cpu::is_canonical(at, s.cr4 & cr4::la57); }
bool usable(const Segment& s) { return !(s.rights & ar::unusable); }

// "VM-Entry Controls for Event Injection", checks of the interruption information.
const char* event_problem(const Vmcs& vmcs, bool protected_mode) {
    if (!(vmcs.entry_info >> 31)) return nullptr;
    const u32 info = vmcs.entry_info, vector = info & 0xff, type = info >> 8 & 7;
    const bool has_error = info >> 11 & 1, software = type >= 4 && type <= 6;
    if (info & 0x7ffff000) return "VMCS_CTRL_VMENTRY_IRQ_INFO has reserved bits";
    if (type == 1) return "VMCS_CTRL_VMENTRY_IRQ_INFO: event type 1 is reserved";
    if (type == 2 && vector != 2) return "VMCS_CTRL_VMENTRY_IRQ_INFO: an NMI has vector 2";
    if (type == 3 && vector > 31) return "VMCS_CTRL_VMENTRY_IRQ_INFO: an exception has a vector from 0 to 31";
    if (type == 7 && vector != 0) return "VMCS_CTRL_VMENTRY_IRQ_INFO: of the other events there is only 0, the monitor trap";
    const bool pushes_error = type == 3 && protected_mode && (vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21);
    if (has_error && !pushes_error) return "VMCS_CTRL_VMENTRY_IRQ_INFO: this event takes no error code";
    if (!has_error && pushes_error && vector != 21) return "VMCS_CTRL_VMENTRY_IRQ_INFO: this exception needs an error code";
    if (has_error && vmcs.entry_error >> 16) return "VMCS_CTRL_VMENTRY_EXC_ERROR has reserved bits";
    if (software && vmcs.entry_length > 15) return "VMCS_CTRL_VMENTRY_INSTR_LEN: an instruction has at most 15 bytes";
    return nullptr;
}

// "Checks on VMX Controls", but for the capability words.
const char* pairing_problem(const Vmcs& vmcs, u64 cr8) {
    if (vmcs.pin & pin::virtual_nmi && !(vmcs.pin & pin::nmi)) return "PIN_BASED_VIRTUAL_NMI needs PIN_BASED_NMI";
    if (vmcs.proc & proc::nmi_window && !(vmcs.pin & pin::virtual_nmi)) return "CPU_BASED_VIRTUAL_NMI_WND needs PIN_BASED_VIRTUAL_NMI";
    if (vmcs.exit_controls & exit_control::save_timer && !(vmcs.pin & pin::preemption_timer))
        return "VMEXIT_SAVE_VMX_TIMER needs PIN_BASED_PREEMPTION_TIMER";
    if (vmcs.cr3_count > cr3_targets) return "VMCS_CTRL_CR3_COUNT is above 4";
    if (vmcs.exit_store_count || vmcs.exit_load_count || vmcs.entry_load_count)
        return "MSR areas are not offered: their counts must be 0 (hv_vcpu_read_msr and hv_vcpu_write_msr do the same)";
    if (vmcs.proc & proc::tpr_shadow) {
        if (vmcs.tpr_threshold >> 4) return "VMCS_CTRL_TPR_THRESHOLD is above 15";
        if (!(vmcs.proc2 & proc2::virtual_apic) && vmcs.tpr_threshold > cr8) return "VMCS_CTRL_TPR_THRESHOLD is above the guest's task priority";
    }
    if (vmcs.proc2 & proc2::virtual_apic && vmcs.apic_access & page_offset_mask) return "VMCS_CTRL_APIC_ACCESS is not a multiple of 4096";
    const bool io = vmcs.proc & proc::io_bitmaps, msr = vmcs.proc & proc::msr_bitmaps;
    if (io && (vmcs.io_bitmap_a | vmcs.io_bitmap_b) & page_offset_mask) return "VMCS_CTRL_IO_BITMAP_A and _B are not multiples of 4096";
    if (msr && vmcs.msr_bitmap & page_offset_mask) return "VMCS_CTRL_MSR_BITMAPS is not a multiple of 4096";
    return nullptr;
}

// "Checks on Guest Segment Registers": granularity fits the limit, and no reserved bit.
bool descriptor_fits(const Segment& s) {
    const bool pages = s.rights & ar::g;
    if (pages ? (s.limit & 0xfff) != 0xfff : s.limit >> 20 != 0) return false;
    return !(s.rights & 0xfffe0f00) && s.rights & ar::present;
}

const char* virtual8086_problem(const CpuState& s) {
    for (const Seg which : {Seg::Cs, Seg::Ss, Seg::Ds, Seg::Es, Seg::Fs, Seg::Gs}) {
        const Segment& seg = s.at(which);
        if (seg.base != u64{seg.selector} << 4 || seg.limit != 0xffff || seg.rights != 0xf3)
            return "in virtual-8086 mode a segment has base selector * 16, limit 0xffff and access rights 0xf3";
    }
    return nullptr;
}

const char* code_problem(const CpuState& s) {
    const Segment &cs = s.at(Seg::Cs), &ss = s.at(Seg::Ss);
    const u32 type = cs.rights & ar::type, dpl = ar::dpl(cs.rights), stack_dpl = ar::dpl(ss.rights);
    if (cs.rights & ar::unusable || !(cs.rights & ar::s) || !descriptor_fits(cs) || cs.base >> 32) return "CS: its access rights, limit or base";
    if (type == 3 ? dpl != 0 : type == 9 || type == 11 ? dpl != stack_dpl : type == 13 || type == 15 ? dpl > stack_dpl : true)
        return "CS: its type, or its privilege level";
    if (s.efer & efer::lma && cs.rights & ar::l && cs.rights & ar::db) return "CS: L and D are both set";
    if ((type == 3 || !(s.cr0 & cr0::pe)) && stack_dpl != 0) return "SS: its privilege level must be 0";
    return nullptr;
}

const char* data_problem(const CpuState& s) {
    for (const Seg which : {Seg::Ss, Seg::Ds, Seg::Es, Seg::Fs, Seg::Gs}) {
        const Segment& seg = s.at(which);
        const bool based = which == Seg::Fs || which == Seg::Gs;
        if (based && !canonical(seg.base, s)) return "FS and GS: a base that is not canonical";
        if (!usable(seg)) continue;
        const u32 type = seg.rights & ar::type;
        if (which == Seg::Ss && type != 3 && type != 7) return "SS: not a writable data segment that was accessed";
        if (!(type & ar::accessed) || (type & ar::code && !(type & ar::readable))) return "DS, ES, FS, GS: not readable or not accessed";
        if (!(seg.rights & ar::s) || !descriptor_fits(seg) || (!based && seg.base >> 32)) return "SS, DS, ES, FS, GS: access rights, limit or base";
    }
    return nullptr;
}

const char* system_segment_problem(const CpuState& s) {
    const Segment &tr = s.at(Seg::Tr), &ldt = s.at(Seg::Ldtr);
    const u32 tr_type = tr.rights & ar::type;
    const bool busy = tr_type == 11 || (tr_type == 3 && !(s.efer & efer::lma));
    if (!usable(tr) || tr.rights & ar::s || !busy || !descriptor_fits(tr)) return "TR: not a busy task-state segment";
    if (tr.selector & 4 || !canonical(tr.base, s)) return "TR: its selector or base";
    if (usable(ldt) && ((ldt.rights & (ar::type | ar::s)) != 2 || !descriptor_fits(ldt))) return "LDTR: not a local descriptor table";
    if (usable(ldt) && (ldt.selector & 4 || !canonical(ldt.base, s))) return "LDTR: its selector or base";
    for (const TableRegister& table : {s.gdtr, s.idtr})
        if (!canonical(table.base, s) || table.limit >> 16) return "GDTR, IDTR: base not canonical, or a limit above 0xffff";
    return nullptr;
}

// "Checks on Guest RIP and RFLAGS".
const char* flow_problem(const CpuState& s, const Vmcs& vmcs) {
    const bool long64 = s.efer & efer::lma && s.at(Seg::Cs).rights & ar::l;
    if (long64 ? !canonical(s.rip, s) : s.rip >> 32 != 0) return "RIP: not canonical, or above 32 bits outside 64-bit mode";
    if (s.rflags & ~u64{0x3f7fd7} || !(s.rflags & flag::always)) return "RFLAGS: reserved bits";
    if (s.rflags & flag::vm && (s.efer & efer::lma || !(s.cr0 & cr0::pe))) return "RFLAGS.VM in IA-32e or real mode";
    const bool interrupts = vmcs.entry_info >> 31 && (vmcs.entry_info >> 8 & 7) == 0;
    if (interrupts && !(s.rflags & flag::intf)) return "RFLAGS.IF is 0, but an external interrupt is injected";
    return nullptr;
}

// "Checks on Guest Non-Register State": which events can be injected in an activity state.
bool activity_takes(u32 activity, u32 info) {
    const u32 type = info >> 8 & 7, vector = info & 0xff;
    if (!(info >> 31) || activity == 0) return true;
    const bool wakes_any = type == 2 || (type == 3 && vector == vector_mc);
    if (activity == 1) return wakes_any || type == 0 || (type == 3 && vector == vector_db) || (type == 7 && vector == 0);
    return activity == 2 && wakes_any;
}

const char* activity_problem(const CpuState& s, const Vmcs& vmcs) {
    const u32 blocked = s.interruptibility & 3;
    if (s.activity > 3) return "activity state: 0 to 3 there are";
    if (s.activity == 1 && ar::dpl(s.at(Seg::Ss).rights) != 0) return "activity state HLT outside privilege level 0";
    if (s.activity != 0 && blocked) return "an activity state with blocking by STI or MOV SS";
    if (!activity_takes(s.activity, vmcs.entry_info)) return "the injected event cannot come in this activity state";
    if (vmcs.pending_debug & ~u64{0x1500f}) return "pending debug exceptions: reserved bits";
    return nullptr;
}

const char* pending_step_problem(const CpuState& s, const Vmcs& vmcs, u64 debugctl) {
    const bool steps = s.rflags & flag::tf && !(debugctl & 2), pending = vmcs.pending_debug >> 14 & 1;
    if ((s.interruptibility & 3 || s.activity == 1) && steps != pending) return "pending debug exceptions: BS does not go with RFLAGS.TF";
    return nullptr;
}

const char* interruptibility_problem(const CpuState& s, const Vmcs& vmcs, u64& qualification) {
    const u32 blocked = s.interruptibility, type = vmcs.entry_info >> 8 & 7;
    const bool injects = vmcs.entry_info >> 31;
    if (blocked & ~u32{0xb}) return "interruptibility: reserved bits, or blocking by SMI";
    if ((blocked & 3) == 3) return "interruptibility: blocking by STI and by MOV SS";
    if (blocked & 1 && !(s.rflags & flag::intf)) return "interruptibility: blocking by STI with RFLAGS.IF 0";
    if (injects && type == 0 && blocked & 3) return "an external interrupt is injected while STI or MOV SS blocks it";
    if (injects && type == 2 && blocked & 2) return qualification = by_nmi, "an NMI is injected while MOV SS blocks it";
    if (injects && type == 2 && blocked & 8 && vmcs.pin & pin::virtual_nmi) return "an NMI is injected while NMIs are blocked";
    return nullptr;
}

// IA32_PAT: each byte is a memory type.
bool pat_valid(u64 pat) {
    for (unsigned n = 0; n < 8; ++n)
        if (const u8 type = u8(pat >> 8 * n); type > 7 || type == 2 || type == 3) return false;
    return true;
}

// Of "Checks on Guest Control Registers, Debug Registers, and MSRs" what the capability words say.
const char* fixed_bits_problem(const CpuState& s) {
    bool known = false;
    const u64 cr4_must = Capabilities::word(13, known), cr4_may = Capabilities::word(14, known);
    if (s.cr0 >> 32 || !(s.cr0 & cr0::ne)) return "CR0: outside HV_VMX_CAP_CR0_FIXED0 and _FIXED1";
    if ((s.cr4 & cr4_must) != cr4_must || s.cr4 & ~cr4_may) return "CR4: outside HV_VMX_CAP_CR4_FIXED0 and _FIXED1";
    return nullptr;
}

// And what the registers want of each other.
const char* paging_problem(const CpuState& s, bool ia32e) {
    if (s.cr0 & cr0::pg && !(s.cr0 & cr0::pe)) return "CR0: paging without protected mode";
    if (ia32e && !(s.cr0 & cr0::pg && s.cr4 & cr4::pae)) return "IA-32e mode without CR0.PG or CR4.PAE";
    if (!ia32e && s.cr4 & cr4::pcide) return "CR4.PCIDE outside IA-32e mode";
    if (s.cr3 >> GuestMemory::gpa_bits) return "CR3: beyond the physical-address width";
    return nullptr;
}

}  // namespace

// The VMfail of an entry: the rule that the controls break, or null.
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
    if (const char* problem = pairing_problem(vmcs, cr8)) return problem;
    return event_problem(vmcs, cr0 & cr0::pe);
}

const char* Cpu::msr_problem(bool ia32e) const {
    const u64 debugctl = plain_msrs.at(0x1d9);
    const auto loads = [&](u32 control) { return !raw_ || vmcs.entry_controls & control; };
    if (loads(entry_control::debug_controls) && (debugctl & ~u64{0xffc3} || dr[7] >> 32)) return "DEBUGCTL or DR7: reserved bits";
    if (!canonical(plain_msrs.at(0x175)) || !canonical(plain_msrs.at(0x176))) return "SYSENTER_ESP or _EIP: not canonical";
    if (loads(entry_control::load_pat) && !pat_valid(plain_msrs.at(0x277))) return "PAT: a byte that is no memory type";
    if (!loads(entry_control::load_efer)) return nullptr;
    constexpr u64 efer_known = efer::sce | efer::lme | efer::lma | efer::nxe;
    const bool lma = efer & efer::lma, lme = efer & efer::lme;
    if (efer & ~efer_known || lma != ia32e) return "EFER: reserved bits, or LMA differs from VMENTRY_GUEST_IA32E";
    if (cr0 & cr0::pg && lma != lme) return "EFER: LMA and LME differ while paging is on";
    return nullptr;
}

// What stands in for the capability words and the entry controls where a vCPU has none of them: the objects' vCPUs show
// neither NE nor VMXE, and what CR4 may have is what CPUID announces.
const char* Cpu::plain_problem() const {
    if (cr0 >> 32) return "CR0: bits above 31";
    if (!cr4_runs(cr4)) return "CR4: bits that the CPUID of this vCPU does not announce";
    const bool lma = cr0 & cr0::pg && efer & efer::lme;
    if (lma != ((efer & efer::lma) != 0)) return "EFER.LMA is not what CR0.PG and EFER.LME make it";
    return nullptr;
}

const char* Cpu::state_problem() {
    u64 ignored = 0;
    settle_pdptes();
    return bad_guest_state(ignored);
}

// Why this guest state cannot be entered, or null.
const char* Cpu::bad_guest_state(u64& qualification) const {
    const bool ia32e = raw_ ? vmcs.entry_controls & entry_control::ia32e : efer & efer::lma;
    if (const char* why = raw_ ? fixed_bits_problem(*this) : plain_problem()) return why;
    if (const char* why = paging_problem(*this, ia32e)) return why;
    if (const char* why = msr_problem(ia32e)) return why;
    if (rflags & flag::vm) {
        if (const char* why = virtual8086_problem(*this)) return why;
    } else {
        if (const char* why = code_problem(*this)) return why;
        if (const char* why = data_problem(*this)) return why;
    }
    if (const char* why = system_segment_problem(*this)) return why;
    if (const char* why = flow_problem(*this, vmcs)) return why;
    if (const char* why = activity_problem(*this, vmcs)) return why;
    if (const char* why = raw_ ? pending_step_problem(*this, vmcs, plain_msrs.at(0x1d9)) : nullptr) return why;
    if (const char* why = interruptibility_problem(*this, vmcs, qualification)) return why;
    if (vmcs.link_pointer != ~u64{0}) return qualification = by_link_pointer, "VMCS_GUEST_LINK_POINTER is not all ones";
    if (!pdptes_valid()) return qualification = by_pdptes, "PDPTE: reserved bits in an entry that is present";
    return nullptr;
}

// Without "load EFER" the entry control alone says whether the guest is in IA-32e mode.
void Cpu::take_entry_mode() {
    if (vmcs.entry_controls & entry_control::load_efer) return;
    const u64 bits = efer::lma | (cr0 & cr0::pg ? efer::lme : 0);
    const u64 wanted = vmcs.entry_controls & entry_control::ia32e ? efer | bits : efer & ~bits;
    if (wanted != efer) write_control(efer, wanted);
}

// An entry. False: it has failed, `exit` says why, and nothing else has changed.
bool Cpu::admit() {
    if (entry_unchecked_) {
        const u64 kept_efer = efer;
        if (raw_) take_entry_mode();
        settle_pdptes();
        u64 qualification = 0;
        if (const char* why = bad_guest_state(qualification)) {
            if (efer != kept_efer) write_control(efer, kept_efer);
            set_exit(ExitKind::BadGuestState, static_cast<Reason>(static_cast<u32>(Reason::BadGuestState) | failed_entry));
            exit.qualification = qualification;
            exit.text = why;
            return false;
        }
    }
    if (entry_unchecked_) watch_apic_page();
    entry_unchecked_ = false;
    const bool timer = vmcs.pin & pin::preemption_timer;
    if (timer && !timer_runs_) timer_end_ns_ = clock_.now_ns() + (u64{vmcs.timer} << timer_shift);
    timer_runs_ = timer;
    tpr_trap_ = tpr_below_threshold() && vmcs.proc2 & proc2::virtual_apic;
    return true;
}

// Intel SDM vol. 3, "VM-Entry Controls for Event Injection".
void Cpu::inject_from_vmcs() {
    injected_ = Event{};
    injected_.pending = true;
    injected_.vector = u8(vmcs.entry_info);
    injected_.type = static_cast<EventType>(vmcs.entry_info >> 8 & 7);
    injected_.has_error = vmcs.entry_info >> 11 & 1;
    injected_.error = vmcs.entry_error;
    injected_.length = u8(vmcs.entry_length);
}

}  // namespace silicon::x86
