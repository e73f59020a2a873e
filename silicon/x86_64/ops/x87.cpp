// The x87 unit as far as programs need it that do not use it. Rows: spec/x86_64/x87.toml.
#include <algorithm>

#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

// The legacy area of the XSAVE image. Intel SDM vol. 1, "Legacy Region of an XSAVE Area".
constexpr size_t image_status = 2;
constexpr u8 error_summary = 1 << 7;

// Intel SDM vol. 2, "FINIT/FNINIT—Initialize Floating-Point Unit": FCW 037F, all else 0, registers tagged empty.
SILICON_INLINE Outcome initialise_x87(Cpu& cpu, const Insn&) {
    if (cpu.cr0 & (cr0::em | cr0::ts)) return cpu.raise(vector_nm);
    std::fill(cpu.xsave.begin(), cpu.xsave.begin() + 24, u8{0});  // up to MXCSR
    cpu.xsave[0] = 0x7f, cpu.xsave[1] = 0x03;
    return Outcome::Next;
}

// Intel SDM vol. 2, "WAIT/FWAIT—Wait"; a pending exception that CR0.NE does not make #MF goes to no one here.
SILICON_INLINE Outcome wait_for_x87(Cpu& cpu, const Insn&) {
    if (cpu.cr0 & cr0::mp && cpu.cr0 & cr0::ts) return cpu.raise(vector_nm);
    if (cpu.xsave[image_status] & error_summary && cpu.cr0 & cr0::ne) return cpu.raise(vector_mf);
    return Outcome::Next;
}

}  // namespace

#include "ops_x87.inc"

}  // namespace silicon::x86
