// The host's own floating-point control register, where SIMD floating point runs on the host's instructions.
#pragma once

#include "silicon/types.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace silicon::x86 {

// MXCSR. Intel SDM vol. 1, "MXCSR Control and Status Register".
namespace mxcsr {
inline constexpr u32 flags = 0x3f, masks = 0x3f << 7, initial = 0x1f80;
inline constexpr unsigned masks_shift = 7;
inline constexpr u32 before_computing = 0x7;  // invalid operation, denormal operand, division by zero
inline constexpr u32 denormals_are_zero = 1 << 6, underflow_mask = 1 << 11, flush_to_zero = 1 << 15, known = 0xffff;

constexpr u32 unmasked(u32 csr) { return ~(csr >> masks_shift) & flags; }
}  // namespace mxcsr

#if defined(__x86_64__)
inline constexpr bool host_runs_simd = true;
inline u32 host_mxcsr() { return _mm_getcsr(); }
inline void set_host_mxcsr(u32 value) { _mm_setcsr(value); }
#else
inline constexpr bool host_runs_simd = false;
inline u32 host_mxcsr() { return mxcsr::initial; }
inline void set_host_mxcsr(u32) {}
#endif

// In the host's MXCSR while a guest with `csr` runs: its modes, everything masked. Flush-to-zero has no effect on underflow that
// is not masked. Intel SDM vol. 1, "Flush-To-Zero".
constexpr u32 host_modes_of(u32 csr) {
    if (!(csr & mxcsr::underflow_mask)) csr &= ~mxcsr::flush_to_zero;
    return (csr & ~mxcsr::flags) | mxcsr::masks;
}

// The bits of MXCSR that can be set. Intel SDM vol. 1, "Checking for the DAZ Flag in the MXCSR Register".
u32 mxcsr_mask();

}  // namespace silicon::x86
