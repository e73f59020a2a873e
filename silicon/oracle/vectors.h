// Random x87 and SSE state, of values at which floating point and packed integers do something interesting.
#pragma once

#include "silicon/oracle/layout.h"
#include "silicon/oracle/rng.h"

namespace silicon::oracle {

u32 random_float32(Rng& rng);
u64 random_float64(Rng& rng);
// Ten bytes: also the encodings that only the 8087 had (pseudo-denormals, unnormals, pseudo-NaNs, pseudo-infinities).
void random_float80(Rng& rng, u8* to);
// Eight bytes as they could be a part of a register or of memory: one float, two, or packed integers.
u64 random_lanes(Rng& rng);
u32 random_mxcsr(Rng& rng);
u16 random_control_word(Rng& rng);
// Registers, tags, modes and pending exceptions, such that FXRSTOR takes them.
x86::FxState random_fx(Rng& rng);

// The bits of MXCSR that this processor has.
u32 mxcsr_bits();

}  // namespace silicon::oracle
