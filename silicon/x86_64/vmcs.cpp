// The VMCS by field encoding: one of the two doors to the CpuState, the other is registers.cpp.
// Intel SDM vol. 3, appendix "Field Encoding in VMCS".
#include "silicon/x86_64/vmcs.h"

#include <utility>

#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
namespace {

// Where a field that is a plain value lies: a member of the vCPU or of its Vmcs.
template <class Owner, class T>
struct Field {
    u32 encoding;
    T Owner::*member;
};
constexpr Field<Vmcs, u32> controls32[] = {
    {0x4000, &Vmcs::pin},
    {0x4002, &Vmcs::proc},
    {0x4004, &Vmcs::exception_bitmap},
    {0x4006, &Vmcs::page_fault_mask},
    {0x4008, &Vmcs::page_fault_match},
    {0x400a, &Vmcs::cr3_count},
    {0x400c, &Vmcs::exit_controls},
    {0x400e, &Vmcs::exit_store_count},
    {0x4010, &Vmcs::exit_load_count},
    {0x4012, &Vmcs::entry_controls},
    {0x4014, &Vmcs::entry_load_count},
    {0x4016, &Vmcs::entry_info},
    {0x4018, &Vmcs::entry_error},
    {0x401a, &Vmcs::entry_length},
    {0x401c, &Vmcs::tpr_threshold},
    {0x401e, &Vmcs::proc2},
    {0x482e, &Vmcs::timer},
};
constexpr Field<Vmcs, u64> controls64[] = {
    {0x2000, &Vmcs::io_bitmap_a}, {0x2002, &Vmcs::io_bitmap_b},  {0x2004, &Vmcs::msr_bitmap}, {0x2014, &Vmcs::apic_access},
    {0x2800, &Vmcs::link_pointer}, {0x6000, &Vmcs::cr0_mask},    {0x6002, &Vmcs::cr4_mask},   {0x6004, &Vmcs::cr0_shadow},
    {0x6006, &Vmcs::cr4_shadow},  {0x6822, &Vmcs::pending_debug},
};
constexpr Field<CpuState, u32> guest32[] = {{0x4824, &CpuState::interruptibility}, {0x4826, &CpuState::activity}};
constexpr Field<CpuState, u64> guest64[] = {{0x2806, &CpuState::efer}, {0x6800, &CpuState::cr0}, {0x6802, &CpuState::cr3},
                                            {0x6804, &CpuState::cr4},  {0x681e, &CpuState::rip}, {0x6820, &CpuState::rflags}};
// Guest MSRs: the field is the MSR.
struct MsrField {
    u32 encoding, msr;
};
constexpr MsrField msr_fields[] = {{0x2802, 0x1d9}, {0x2804, 0x277}, {0x482a, 0x174}, {0x6824, 0x175}, {0x6826, 0x176}};
// Fields that have no effect here and read back what was written: VPID, MSR areas (whose counts must be 0), executive VMCS,
// virtual-APIC page (the task priority is a register), PERF_GLOBAL_CTRL, PLE gap and window, SMBASE.
constexpr u32 kept_fields[] = {0x0000, 0x2006, 0x2008, 0x200a, 0x200c, 0x2012, 0x2808, 0x4020, 0x4022, 0x4828};

constexpr u32 guest_selector = 0x800, guest_limit = 0x4800, guest_rights = 0x4814, guest_base = 0x6806;
constexpr u32 entry_controls = 0x4012, tsc_offset_field = 0x2010, cr3_target_0 = 0x6008, pdpte_0 = 0x280a, dr7_field = 0x681a, rsp_field = 0x681c;
constexpr u32 gdtr_limit = 0x4810, idtr_limit = 0x4812, gdtr_base = 0x6816, idtr_base = 0x6818, timer_field = 0x482e;

// The bits that a field has, by bits 14:13 of its encoding; VMWRITE drops what is beyond. Intel SDM vol. 3, "Encodings of VMCS
// Fields".
u64 width_mask(u32 encoding) {
    constexpr u64 masks[] = {0xffff, ~u64{0}, 0xffff'ffff, ~u64{0}};  // 16 bits, 64, 32, natural
    return masks[encoding >> 13 & 3];
}

// Which of `count` fields in a row, or -1.
int index_of(u32 encoding, u32 first, unsigned count = 8) {
    if (encoding < first || encoding >= first + 2 * count || (encoding - first) % 2) return -1;
    return static_cast<int>((encoding - first) / 2);
}

template <class Row, size_t N>
const Row* find(const Row (&rows)[N], u32 encoding) {
    for (const Row& row : rows)
        if (row.encoding == encoding) return &row;
    return nullptr;
}

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

bool Cpu::read_vmcs(u32 encoding, u64& value) const {
    if (read_exit_field(exit, vmcs.instruction_error, encoding, value)) return true;
    if (const int n = index_of(encoding, guest_selector); n >= 0) return value = seg[size_t(n)].selector, true;
    if (const int n = index_of(encoding, guest_rights); n >= 0) return value = seg[size_t(n)].rights, true;
    if (const int n = index_of(encoding, guest_limit); n >= 0) return value = seg[size_t(n)].limit, true;
    if (const int n = index_of(encoding, guest_base); n >= 0) return value = seg[size_t(n)].base, true;
    if (const int n = index_of(encoding, cr3_target_0, cr3_targets); n >= 0) return value = vmcs.cr3_target[n], true;
    if (const int n = index_of(encoding, pdpte_0, 4); n >= 0) return value = pdpte(unsigned(n)), true;
    if (const auto* f = find(guest64, encoding)) return value = this->*f->member, true;
    if (const auto* f = find(guest32, encoding)) return value = this->*f->member, true;
    if (const auto* f = find(controls64, encoding)) return value = vmcs.*f->member, true;
    if (const auto* f = find(msr_fields, encoding)) return value = plain_msrs.at(f->msr) & width_mask(encoding), true;
    if (encoding == entry_controls && !raw_) {  // the objects change mode without it
        const u32 other = vmcs.entry_controls & ~entry_control::ia32e;
        return value = other | (efer & efer::lma ? entry_control::ia32e : 0), true;
    }
    if (const auto* f = find(controls32, encoding)) return value = vmcs.*f->member, true;
    switch (encoding) {
        case dr7_field: value = dr[7]; return true;
        case rsp_field: value = gpr[rsp]; return true;
        case gdtr_limit: value = gdtr.limit; return true;
        case idtr_limit: value = idtr.limit; return true;
        case gdtr_base: value = gdtr.base; return true;
        case idtr_base: value = idtr.base; return true;
        case tsc_offset_field: value = tsc_offset; return true;
        default: break;
    }
    if (!is_kept(encoding)) return false;
    const auto found = vmcs.kept.find(encoding);
    value = found == vmcs.kept.end() ? 0 : found->second;
    return true;
}

void Cpu::write_pdpte(unsigned n, u64 value) {
    settle_pdptes();
    pdptes[n] = value;
    flush_tlb();
}

bool Cpu::write_vmcs(u32 encoding, u64 value) {
    u64 ignored = 0;
    if (read_exit_field(exit, 0, encoding, ignored)) return false;  // read-only
    entry_unchecked_ = true;
    if (const int n = index_of(encoding, guest_selector); n >= 0) return seg[size_t(n)].selector = u16(value), true;
    const auto changed = [&] { return state_changed(), true; };
    if (const int n = index_of(encoding, guest_rights); n >= 0) return seg[size_t(n)].rights = u32(value), changed();
    if (const int n = index_of(encoding, guest_limit); n >= 0) return seg[size_t(n)].limit = u32(value), changed();
    if (const int n = index_of(encoding, guest_base); n >= 0) return seg[size_t(n)].base = value, changed();
    if (const int n = index_of(encoding, cr3_target_0, cr3_targets); n >= 0) return vmcs.cr3_target[n] = value, true;
    if (const int n = index_of(encoding, pdpte_0, 4); n >= 0) return write_pdpte(unsigned(n), value), true;
    if (const auto* f = find(guest64, encoding)) {
        if (f->member == &CpuState::rip) return abandon(), rip = value, true;
        if (f->member == &CpuState::rflags) return rflags = value, changed();
        return write_control(this->*f->member, value), true;
    }
    if (const auto* f = find(guest32, encoding)) return this->*f->member = u32(value), true;
    if (const auto* f = find(controls64, encoding)) return vmcs.*f->member = value, true;
    if (const auto* f = find(msr_fields, encoding)) return plain_msrs[f->msr] = value & width_mask(encoding), true;
    if (encoding == timer_field) timer_runs_ = false;
    if (const auto* f = find(controls32, encoding)) return vmcs.*f->member = u32(value), true;
    switch (encoding) {
        case dr7_field: dr[7] = value; return true;
        case rsp_field: gpr[rsp] = value; return true;
        case gdtr_limit: gdtr.limit = u32(value); return true;
        case idtr_limit: idtr.limit = u32(value); return true;
        case gdtr_base: gdtr.base = value; return true;
        case idtr_base: idtr.base = value; return true;
        case tsc_offset_field: tsc_offset = value; return true;
        default: break;
    }
    if (!is_kept(encoding)) return false;
    vmcs.kept[encoding] = value & width_mask(encoding);
    return true;
}

}  // namespace silicon::x86
