// Control registers and EFER, with the checks of their writes. Intel SDM vol. 3, "Control Registers", "Paging-Mode Enabling",
// "Initializing IA-32e Mode"; vol. 2, "MOV—Move to/from Control Registers".
#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {
namespace {

// A TSS of 16 bits cannot be used in long mode.
bool is_short_task(const Segment& tr) { return !(tr.rights & ar::unusable) && (tr.rights & 0xd) == 1; }

// Bits whose change makes PAE paging read its PDPTEs. Intel SDM vol. 3, "PDPTE Registers".
constexpr u64 cr0_reads_pdptes = cr0::pg | cr0::cd | cr0::nw;
constexpr u64 cr4_reads_pdptes = cr4::pae | cr4::pge | cr4::pse | cr4::smep;
// Bits that change what a translation is or allows.
constexpr u64 cr0_translates = cr0::pg | cr0::pe | cr0::wp;
constexpr u64 cr4_translates = cr4::pse | cr4::pae | cr4::pge | cr4::la57 | cr4::pcide | cr4::smep | cr4::smap;

// What of CR4 always runs, and what runs where CPUID announces it; the rest is refused as reserved.
constexpr u64 cr4_always = cr4::tsd | cr4::de | cr4::pse | cr4::pae | cr4::mce | cr4::pge | cr4::pce | cr4::osfxsr |
                           cr4::osxmmexcpt | cr4::vmxe;
constexpr struct {
    u64 bit;
    Feature feature;
} cr4_by_feature[] = {
    {cr4::umip, Feature::UMIP},   {cr4::la57, Feature::LA57}, {cr4::fsgsbase, Feature::FSGSBASE},
    {cr4::pcide, Feature::PCID},  {cr4::smep, Feature::SMEP}, {cr4::smap, Feature::SMAP},
    {cr4::osxsave, Feature::XSAVE},
};

u64 cr4_known(const CpuidTable& cpuid) {
    u64 known = cr4_always;
    for (const auto& row : cr4_by_feature)
        if (cpuid.has(row.feature)) known |= row.bit;
    return known;
}

// Whether the bits are those that VMX wants. Intel SDM vol. 3, "VMX-Fixed Bits in CR4".
bool cr4_fixed(u64 value) {
    bool known = false;
    const u64 must = Capabilities::word(13, known), may = Capabilities::word(14, known);
    return (value & must) == must && !(value & ~may);
}

constexpr u64 cr3_no_flush = u64{1} << 63;
constexpr u64 cr3_pcid = 0xfff;

}  // namespace

// "Restrictions on VMX Operation": what the capability words fix cannot be changed in a guest either; an unmasked bit that
// would be is #GP. PE and PG are free in an unrestricted guest.
bool Cpu::cr0_allowed(u64 value) const {
    if (raw_ && !(value & cr0::ne)) return false;
    const bool paging = value & cr0::pg, turns_on = paging && !(cr0 & cr0::pg), long_mode = efer & efer::lme;
    if (value >> 32 || (paging && !(value & cr0::pe)) || (value & cr0::nw && !(value & cr0::cd))) return false;
    if (turns_on && long_mode && (!(cr4 & cr4::pae) || at(Seg::Cs).rights & ar::l || is_short_task(at(Seg::Tr)))) return false;
    return paging || !(in_long64() || cr4 & cr4::pcide);
}

Outcome Cpu::set_cr0(u64 value) {
    if (!cr0_allowed(value)) return raise(vector_gp, 0);
    const u64 before = cr0, after = (value & cr0::known) | cr0::et;
    if ((before ^ after) & cr0_reads_pdptes && has_pdptes(after, cr4))
        if (const Outcome out = load_pdptes(cr3); out != Outcome::Next) return out;
    cr0 = after;
    efer = after & cr0::pg && efer & efer::lme ? efer | efer::lma : efer & ~efer::lma;
    if ((before ^ cr0) & cr0_translates) flush_tlb();
    update_mode_if_needed();
    return Outcome::Next;
}

// With PCIDs bit 63 says that nothing need be forgotten; it is not stored. The TLB holds one address space, so a change of it
// forgets all the same: that is always allowed.
Outcome Cpu::set_cr3(u64 value) {
    const bool tagged = cr4 & cr4::pcide;
    const bool keep = tagged && value & cr3_no_flush;
    if (tagged) value &= ~cr3_no_flush;
    if (efer & efer::lma && value >> GuestMemory::gpa_bits) return raise(vector_gp, 0);
    if (has_pdptes(cr0, cr4))
        if (const Outcome out = load_pdptes(value); out != Outcome::Next) return out;
    const u64 before = cr3;
    cr3 = value;
    if (!keep || before != value) flush_address_space();
    return Outcome::Next;
}

bool Cpu::cr4_runs(u64 value) const { return !(value & ~cr4_known(cpuid)); }

bool Cpu::cr4_allowed(u64 value) const {
    if (!cr4_runs(value) || (raw_ && !cr4_fixed(value))) return false;
    const u64 changed = value ^ cr4;
    const bool long_mode = efer & efer::lma;
    if (long_mode && (!(value & cr4::pae) || changed & cr4::la57)) return false;
    return !(changed & value & cr4::pcide) || (long_mode && !(cr3 & cr3_pcid));
}

Outcome Cpu::set_cr4(u64 value) {
    if (!cr4_allowed(value)) return raise(vector_gp, 0);
    const u64 before = cr4;
    if ((before ^ value) & cr4_reads_pdptes && has_pdptes(cr0, value))
        if (const Outcome out = load_pdptes(cr3); out != Outcome::Next) return out;
    cr4 = value;
    if ((before ^ value) & cr4_translates) flush_tlb();
    update_mode_if_needed();
    arm_debug();  // I/O breakpoints need CR4.DE
    return Outcome::Next;
}

// What makes the PDPTEs be read is what makes a guest's own write do so; read they are at the next entry, as the other
// registers may come after this one.
void Cpu::write_control(u64& which, u64 value) {
    const u64 reads = &which == &cr0 ? cr0_reads_pdptes : &which == &cr4 ? cr4_reads_pdptes : efer::lme | efer::lma;
    if (&which == &cr3 || (which ^ value) & reads) pdptes_stale_ = true;
    which = value;
    state_changed();
}

// LMA follows CR0.PG; LME cannot change while paging is on.
bool Cpu::set_efer(u64 value) {
    constexpr u64 known = efer::sce | efer::lme | efer::lma | efer::nxe;
    if (value & ~known || (cr0 & cr0::pg && (value ^ efer) & efer::lme)) return false;
    const u64 before = efer;
    efer = (value & ~efer::lma) | (efer & efer::lma);
    if ((before ^ efer) & efer::nxe) flush_tlb();
    return true;
}

// INVPCID. All entries are of the present PCID, so what names another one has nothing to forget.
// Intel SDM vol. 2, "INVPCID—Invalidate Process-Context Identifier".
Outcome Cpu::invalidate(u64 type, u64 pcid, u64 linear) {
    enum : u64 { address, context, everything, all_but_global };
    const bool one = type == address || type == context, present = pcid == (cr4 & cr4::pcide ? cr3 & cr3_pcid : 0);
    if (type > all_but_global || pcid > cr3_pcid) return raise(vector_gp, 0);
    if ((type == address && !canonical_base(linear)) || (one && pcid && !(cr4 & cr4::pcide))) return raise(vector_gp, 0);
    if (type == everything)
        flush_tlb();
    else if (type == all_but_global || (type == context && present))
        flush_address_space();
    else if (type == address && present)
        flush_page(linear);
    return Outcome::Next;
}

}  // namespace silicon::x86
