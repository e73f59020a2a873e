// What the slow way must know of a SIMD floating-point operation while some exception of it is not masked.
#pragma once

#include "silicon/types.h"

namespace silicon::x86 {

// How an operation rounds what it has computed. Those that never round to something tiny or too large are not here.
enum class Rounds : u8 { Add, Sub, AddSub, HorizontalAdd, HorizontalSub, Mul, Div, Narrow };

// Its operands: how many numbers, of which format.
enum class Lanes : u8 { F32x1, F32x4, F64x1, F64x2 };

struct FloatOperation {
    Rounds rounds;
    Lanes lanes;
    Vec a, b;  // destination and source, as they were
};

// The exception flags that the operation raises under the modes and masks of `csr`. Leaves the host's MXCSR changed.
u32 float_flags(const FloatOperation& what, u32 csr);

// Those of an operation that has just run on the host and does not round.
u32 plain_flags(u32 csr);

// DPPS and DPPD: three steps, each of which may be the last. `selected`: a bit for each product.
// Intel SDM vol. 2, "DPPS—Dot Product of Packed Single Precision Floating-Point Values".
u32 dot_flags(Lanes lanes, Vec a, Vec b, unsigned selected, u32 csr);

}  // namespace silicon::x86
