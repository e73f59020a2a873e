// The host's own x87 instructions on the operands alone, one struct each: what HOST_X87_… lines of the generated files stand
// for. Each gives the host's status word behind it; everything is masked meanwhile (`Cpu::ready_x87`).
#pragma once

#include "silicon/types.h"

namespace silicon::x86 {

struct X87Bytes {
    u8 bytes[10];
};
inline X87Bytes& x87_at(u8* place) { return *reinterpret_cast<X87Bytes*>(place); }
inline const X87Bytes& x87_at(const u8* place) { return *reinterpret_cast<const X87Bytes*>(place); }

}  // namespace silicon::x86

#if defined(__x86_64__)
#define SILICON_X87_ASM(...) asm volatile(__VA_ARGS__)
#else
#define SILICON_X87_ASM(...)
#endif

// out = code(a) with `a` on the top, `b` below; then the result and what is left are taken off.
#define SILICON_X87_ONE(code)                                                                           \
    u16 status = 0;                                                                                     \
    SILICON_X87_ASM("fldt %[a]\n\t" code "\n\tfnstsw %%ax\n\tfstpt %[out]"                              \
                    : "=a"(status), [out] "=m"(x87_at(out)) : [a] "m"(x87_at(a)));                      \
    return status;
#define SILICON_X87_TWO(code, left)                                                                     \
    u16 status = 0;                                                                                     \
    SILICON_X87_ASM("fldt %[b]\n\tfldt %[a]\n\t" code "\n\tfnstsw %%ax\n\tfstpt %[out]\n\t" left        \
                    : "=a"(status), [out] "=m"(x87_at(out)) : [a] "m"(x87_at(a)), [b] "m"(x87_at(b)));  \
    return status;
#define SILICON_X87_WITH(code)                                                                          \
    u16 status = 0;                                                                                     \
    SILICON_X87_ASM("fldt %[a]\n\t" code " %[b]\n\tfnstsw %%ax\n\tfstpt %[out]"                         \
                    : "=a"(status), [out] "=m"(x87_at(out)) : [a] "m"(x87_at(a)), [b] "m"(b));          \
    return status;

// a OP b
#define HOST_X87_BINARY(name)                                                                           \
    namespace host_x87_binary {                                                                         \
    struct name {                                                                                       \
        static SILICON_INLINE u16 run(const u8* a, const u8* b, u8* out) { SILICON_X87_TWO(#name " %%st(1), %%st", "fstp %%st(0)") } \
    };                                                                                                  \
    }
// a OP number in memory
#define HOST_X87_REAL(name)                                                                             \
    namespace host_x87_real {                                                                           \
    struct name {                                                                                       \
        static SILICON_INLINE u16 run(const u8* a, const u32& b, u8* out) { SILICON_X87_WITH(#name "s") } \
        static SILICON_INLINE u16 run(const u8* a, const u64& b, u8* out) { SILICON_X87_WITH(#name "l") } \
    };                                                                                                  \
    }
#define HOST_X87_INTEGER(name)                                                                          \
    namespace host_x87_integer {                                                                        \
    struct name {                                                                                       \
        static SILICON_INLINE u16 run(const u8* a, const u16& b, u8* out) { SILICON_X87_WITH(#name "s") } \
        static SILICON_INLINE u16 run(const u8* a, const u32& b, u8* out) { SILICON_X87_WITH(#name "l") } \
    };                                                                                                  \
    }
// OP a
#define HOST_X87_UNARY(name)                                                                            \
    namespace host_x87_unary {                                                                          \
    struct name {                                                                                       \
        static SILICON_INLINE u16 run(const u8* a, u8* out) { SILICON_X87_ONE(#name) }                  \
    };                                                                                                  \
    }
// OP of the top and of what is below it: to the top, or to what is below with the top popped
#define HOST_X87_PAIR(name)                                                                             \
    namespace host_x87_pair {                                                                           \
    struct name {                                                                                       \
        static SILICON_INLINE u16 run(const u8* a, const u8* b, u8* out) { SILICON_X87_TWO(#name, "fstp %%st(0)") } \
    };                                                                                                  \
    }
#define HOST_X87_FOLD(name)                                                                             \
    namespace host_x87_fold {                                                                           \
    struct name {                                                                                       \
        static SILICON_INLINE u16 run(const u8* a, const u8* b, u8* out) { SILICON_X87_TWO(#name, "") } \
    };                                                                                                  \
    }
// a constant
#define HOST_X87_CONSTANT(name)                                                                         \
    namespace host_x87_constant {                                                                       \
    struct name {                                                                                       \
        static SILICON_INLINE u16 run(u8* out) {                                                        \
            u16 status = 0;                                                                             \
            SILICON_X87_ASM(#name "\n\tfnstsw %%ax\n\tfstpt %[out]" : "=a"(status), [out] "=m"(x87_at(out))); \
            return status;                                                                              \
        }                                                                                               \
    };                                                                                                  \
    }

namespace silicon::x86 {

// To and from memory: the letters that say the width differ, so they are spelt out.
#define SILICON_X87_LOAD(T, code)                                                                       \
    static SILICON_INLINE u16 run(const T& from, u8* out) {                                             \
        u16 status = 0;                                                                                 \
        SILICON_X87_ASM(code " %[from]\n\tfnstsw %%ax\n\tfstpt %[out]"                                  \
                        : "=a"(status), [out] "=m"(x87_at(out)) : [from] "m"(from));                    \
        return status;                                                                                  \
    }
#define SILICON_X87_STORE(T, code)                                                                      \
    static SILICON_INLINE u16 run(const u8* a, T& to) {                                                 \
        u16 status = 0;                                                                                 \
        SILICON_X87_ASM("fldt %[a]\n\t" code " %[to]\n\tfnstsw %%ax" : "=a"(status), [to] "=m"(to) : [a] "m"(x87_at(a))); \
        return status;                                                                                  \
    }
struct X87LoadReal {
    SILICON_X87_LOAD(u32, "flds")
    SILICON_X87_LOAD(u64, "fldl")
};
struct X87LoadInteger {
    SILICON_X87_LOAD(u16, "filds")
    SILICON_X87_LOAD(u32, "fildl")
    SILICON_X87_LOAD(u64, "fildll")
};
struct X87StoreReal {
    SILICON_X87_STORE(u32, "fstps")
    SILICON_X87_STORE(u64, "fstpl")
};
struct X87StoreInteger {
    SILICON_X87_STORE(u16, "fistps")
    SILICON_X87_STORE(u32, "fistpl")
    SILICON_X87_STORE(u64, "fistpll")
};
struct X87StoreTruncated {
    SILICON_X87_STORE(u16, "fisttps")
    SILICON_X87_STORE(u32, "fisttpl")
    SILICON_X87_STORE(u64, "fisttpll")
};

// Comparisons give their answer in the status word.
#define SILICON_X87_COMPARE(code)                                                                       \
    static SILICON_INLINE u16 run(const u8* a, const u8* b) {                                           \
        u16 status = 0;                                                                                 \
        SILICON_X87_ASM("fldt %[b]\n\tfldt %[a]\n\t" code "\n\tfnstsw %%ax\n\tfstp %%st(0)\n\tfstp %%st(0)" \
                        : "=a"(status) : [a] "m"(x87_at(a)), [b] "m"(x87_at(b)));                       \
        return status;                                                                                  \
    }
#define SILICON_X87_COMPARE_WITH(T, code)                                                               \
    static SILICON_INLINE u16 run(const u8* a, const T& b) {                                            \
        u16 status = 0;                                                                                 \
        SILICON_X87_ASM("fldt %[a]\n\t" code " %[b]\n\tfnstsw %%ax\n\tfstp %%st(0)"                     \
                        : "=a"(status) : [a] "m"(x87_at(a)), [b] "m"(b));                               \
        return status;                                                                                  \
    }
struct X87Compare {
    SILICON_X87_COMPARE("fcom %%st(1)")
    SILICON_X87_COMPARE_WITH(u32, "fcoms")
    SILICON_X87_COMPARE_WITH(u64, "fcoml")
};
struct X87CompareQuiet {
    SILICON_X87_COMPARE("fucom %%st(1)")
};
struct X87CompareInteger {
    SILICON_X87_COMPARE_WITH(u16, "ficoms")
    SILICON_X87_COMPARE_WITH(u32, "ficoml")
};
// FTST and FXAM, of the top alone
#define HOST_X87_LOOK(name)                                                                             \
    namespace host_x87_look {                                                                           \
    struct name {                                                                                       \
        static SILICON_INLINE u16 run(const u8* a) {                                                    \
            u16 status = 0;                                                                             \
            SILICON_X87_ASM("fldt %[a]\n\t" #name "\n\tfnstsw %%ax\n\tfstp %%st(0)" : "=a"(status) : [a] "m"(x87_at(a))); \
            return status;                                                                              \
        }                                                                                               \
    };                                                                                                  \
    }
// FCOMI, FUCOMI: carry, parity and zero flag are the answer
struct X87Flags {
    bool carry = false, parity = false, zero = false;
};
#define HOST_X87_FLAGS(name)                                                                            \
    namespace host_x87_flags {                                                                          \
    struct name {                                                                                       \
        static SILICON_INLINE u16 run(const u8* a, const u8* b, X87Flags& flags) {                      \
            u16 status = 0;                                                                             \
            SILICON_X87_ASM("fldt %[b]\n\tfldt %[a]\n\t" #name " %%st(1), %%st\n\t"                   \
                            "fnstsw %%ax\n\tfstp %%st(0)\n\tfstp %%st(0)"                              \
                            : "=a"(status), "=@ccc"(flags.carry), "=@ccp"(flags.parity), "=@ccz"(flags.zero) \
                            : [a] "m"(x87_at(a)), [b] "m"(x87_at(b)));                                  \
            return status;                                                                              \
        }                                                                                               \
    };                                                                                                  \
    }

}  // namespace silicon::x86
