// Control registers. Intel SDM vol. 3, "Control Registers"; vol. 2, "MOV—Move to/from Control Registers".
#include "silicon/x86_64/cpu.h"

namespace silicon::x86 {

Outcome Cpu::set_cr0(u64 value) {
    const bool paging = value & cr0::pg, long_mode = efer & efer::lme;
    if (value >> 32 || (paging && !(value & cr0::pe)) || (value & cr0::nw && !(value & cr0::cd))) return raise(vector_gp, 0);
    const bool turns_on = paging && !(cr0 & cr0::pg);
    if (turns_on && long_mode && (!(cr4 & cr4::pae) || at(Seg::Cs).rights & ar::l)) return raise(vector_gp, 0);
    if (!paging && in_long64()) return raise(vector_gp, 0);
    const u64 before = cr0;
    cr0 = (value & cr0::known) | cr0::et | (raw_ ? before & cr0::ne : 0);
    efer = paging && long_mode ? efer | efer::lma : efer & ~efer::lma;
    if ((before ^ cr0) & (cr0::pg | cr0::pe | cr0::wp)) flush_tlb();
    update_mode_if_needed();
    return Outcome::Next;
}

Outcome Cpu::set_cr3(u64 value) {
    if (efer & efer::lma && value >> GuestMemory::gpa_bits) return raise(vector_gp, 0);
    cr3 = value;
    flush_tlb();
    return Outcome::Next;
}

// What of CR4 runs: the rest is refused as reserved.
static constexpr u64 cr4_known = cr4::tsd | cr4::de | cr4::pse | cr4::pae | cr4::mce | cr4::pge | cr4::pce | cr4::osfxsr |
                                 cr4::osxmmexcpt | cr4::vmxe;

Outcome Cpu::set_cr4(u64 value) {
    if (value & ~cr4_known) return raise(vector_gp, 0);
    if (efer & efer::lma && !(value & cr4::pae)) return raise(vector_gp, 0);
    const u64 before = cr4;
    cr4 = value;
    if (before ^ value) flush_tlb();
    update_mode_if_needed();
    return Outcome::Next;
}

}  // namespace silicon::x86
