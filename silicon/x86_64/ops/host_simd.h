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
#pragma GCC diagnostic ignored "-Wunused-parameter"  // what does nothing uses nothing
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

// dst = OP src.
#define HOST_UNARY(name)                                  \
    namespace host_unary {                                \
    struct name {                                         \
        static SILICON_INLINE Vec run(Vec a) {            \
            SILICON_HOST_ASM(#name " %0, %0" : "+x"(a));  \
            return a;                                     \
        }                                                 \
    };                                                    \
    }

// dst = dst OP src by an immediate, which the host's instruction has in its code.
#define HOST_LANES_IMM(name)                              \
    namespace host_lanes_imm {                            \
    struct name {                                         \
        template <int Imm>                                \
        static Vec run(Vec a, Vec b) {                    \
            SILICON_HOST_ASM(#name " %2, %1, %0" : "+x"(a) : "x"(b), "i"(Imm)); \
            return a;                                     \
        }                                                 \
    };                                                    \
    }

// dst = OP src by an immediate.
#define HOST_UNARY_IMM(name)                              \
    namespace host_unary_imm {                            \
    struct name {                                         \
        template <int Imm>                                \
        static Vec run(Vec a) {                           \
            SILICON_HOST_ASM(#name " %1, %0, %0" : "+x"(a) : "i"(Imm)); \
            return a;                                     \
        }                                                 \
    };                                                    \
    }

// dst = dst OP src by what XMM0 holds.
#define HOST_LANES_XMM0(name)                             \
    namespace host_lanes_xmm0 {                           \
    struct name {                                         \
        static SILICON_INLINE Vec run(Vec a, Vec b, [[maybe_unused]] Vec by) { \
            SILICON_HOST_ASM(#name " %%xmm0, %1, %0" : "+x"(a) : "x"(b), "Yz"(by)); \
            return a;                                     \
        }                                                 \
    };                                                    \
    }

// General register = one bit a lane.
#define HOST_MASK(name)                                   \
    namespace host_mask {                                 \
    struct name {                                         \
        static SILICON_INLINE u32 run([[maybe_unused]] Vec a) { \
            u32 bits = 0;                                 \
            SILICON_HOST_ASM(#name " %1, %0" : "=r"(bits) : "x"(a)); \
            return bits;                                  \
        }                                                 \
    };                                                    \
    }

// dst = dst OP src in floating point: MXCSR says how, and gathers the exceptions. The first operand stays the first: of two
// NaNs it gives the result.
#define HOST_FLOAT(name)                                                \
    namespace host_float {                                              \
    struct name {                                                       \
        static SILICON_INLINE Vec run(Vec a, Vec b) {                   \
            SILICON_HOST_FLOAT_ASM(#name " %1, %0" : "+x"(a) : "x"(b)); \
            return a;                                                   \
        }                                                               \
    };                                                                  \
    }

// The same with an immediate in the instruction.
#define HOST_FLOAT_BY(name)                                                             \
    namespace host_float_by {                                                           \
    struct name {                                                                       \
        template <int Imm>                                                         \
        static Vec run(Vec a, Vec b) {                                                  \
            SILICON_HOST_FLOAT_ASM(#name " %2, %1, %0" : "+x"(a) : "x"(b), "i"(Imm)); \
            return a;                                                                   \
        }                                                                               \
    };                                                                                  \
    }

// COMISD and its kind: ZF and CF say all, PF is both.
#define HOST_COMPARE(name)                                                                              \
    namespace host_compare {                                                                            \
    struct name {                                                                                       \
        static SILICON_INLINE void run(Vec a, Vec b, bool& equal, bool& below) {                        \
            SILICON_HOST_FLOAT_ASM(#name " %3, %2" : "=@ccz"(equal), "=@ccc"(below) : "x"(a), "x"(b)); \
        }                                                                                               \
    };                                                                                                  \
    }

// To and from general registers, 32 or 64 bits.
#define HOST_TO_GPR(name)                                              \
    namespace host_to_gpr {                                            \
    struct name {                                                      \
        template <class T>                                             \
        static SILICON_INLINE T run(Vec b) {                           \
            T value = 0;                                               \
            SILICON_HOST_FLOAT_ASM(#name " %1, %0" : "=r"(value) : "x"(b)); \
            return value;                                              \
        }                                                              \
    };                                                                 \
    }
#define HOST_FROM_GPR(name)                                             \
    namespace host_from_gpr {                                           \
    struct name {                                                       \
        template <class T>                                              \
        static SILICON_INLINE Vec run(Vec a, T b) {                     \
            SILICON_HOST_FLOAT_ASM(#name " %1, %0" : "+x"(a) : "r"(b)); \
            return a;                                                   \
        }                                                               \
    };                                                                  \
    }
