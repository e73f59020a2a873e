// The x87 unit as far as programs need it that do not use it. Rows: spec/x86_64/x87.toml.
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

constexpr u16 error_summary = 1 << 7;

// Intel SDM vol. 2, "FINIT/FNINIT—Initialize Floating-Point Unit": FCW 037F, all else 0, registers tagged empty.
SILICON_INLINE void initialise_x87(Cpu& cpu, const Insn&) {
    FxState& fx = cpu.fx;
    fx.fcw = 0x37f;
    fx.fsw = fx.fop = 0;
    fx.ftw = 0;
    fx.fip = fx.fdp = 0;
}

// Intel SDM vol. 2, "WAIT/FWAIT—Wait"; a pending exception that CR0.NE does not make #MF goes to no one here.
SILICON_INLINE Outcome wait_for_x87(Cpu& cpu, const Insn&) {
    if (cpu.cr0 & cr0::mp && cpu.cr0 & cr0::ts) return cpu.raise(vector_nm);
    if (cpu.fx.fsw & error_summary && cpu.cr0 & cr0::ne) return cpu.raise(vector_mf);
    return Outcome::Next;
}

}  // namespace

#include "ops_x87.inc"

}  // namespace silicon::x86
