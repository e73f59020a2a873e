// The host's own SIMD instructions, one struct each: what HOST_… lines of the generated files stand for.
//
// A family's source includes this, then its host_FAMILY.inc. On hosts that are not x86-64 the structs do nothing; their
// features are not announced there, so nothing runs them.
#pragma once

#include "silicon/types.h"

#if defined(__x86_64__)
#define SILICON_HOST_ASM(...) asm(__VA_ARGS__)
#define SILICON_HOST_FLOAT_ASM(...) asm volatile(__VA_ARGS__)  // in order with reading and writing MXCSR
#else
#define SILICON_HOST_ASM(...)
#define SILICON_HOST_FLOAT_ASM(...)
#endif

// dst = dst OP src, whole registers, integers: no flags, no exceptions.
#define HOST_LANES(name)                                  \
    namespace host_lanes {                                \
    struct name {                                         \
        static SILICON_INLINE Vec run(Vec a, Vec b) {     \
            SILICON_HOST_ASM(#name " %1, %0" : "+x"(a) : "x"(b)); \
            return a;                                     \
        }                                                 \
    };                                                    \
    }
