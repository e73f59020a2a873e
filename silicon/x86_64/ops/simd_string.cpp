// Comparing strings in XMM registers. Rows: spec/x86_64/simd_string.toml.
// Intel SDM vol. 1, "String and Text Processing Instructions"; vol. 2, "Imm8 Control Byte Operation for PCMPESTRI…".
#include <algorithm>
#include <array>

#include "silicon/x86_64/ops/host_simd.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

struct Strings {
    Vec a, b;
    u32 a_length, b_length;  // of explicit ones, as EAX and EDX hold them
};

struct Found {
    Vec mask{};
    u32 index = 0;
    bool cf = false, zf = false, sf = false, of = false;
};

#define SILICON_STRING_FLAGS(found) "=@ccc"((found).cf), "=@ccz"((found).zf), "=@ccs"((found).sf), "=@cco"((found).of)

// The host's instructions by the immediate, whose bit 7 is ignored.
struct Explicit {
    template <int Imm>
    static Found index([[maybe_unused]] const Strings& s) {
        Found f;
        SILICON_HOST_ASM("pcmpestri %[imm], %[b], %[a]"
                         : "=c"(f.index), SILICON_STRING_FLAGS(f)
                         : [a] "x"(s.a), [b] "x"(s.b), "a"(s.a_length), "d"(s.b_length), [imm] "i"(Imm));
        return f;
    }
    template <int Imm>
    static Found mask([[maybe_unused]] const Strings& s) {
        Found f;
        SILICON_HOST_ASM("pcmpestrm %[imm], %[b], %[a]"
                         : "=Yz"(f.mask), SILICON_STRING_FLAGS(f)
                         : [a] "x"(s.a), [b] "x"(s.b), "a"(s.a_length), "d"(s.b_length), [imm] "i"(Imm));
        return f;
    }
};

struct Implicit {
    template <int Imm>
    static Found index([[maybe_unused]] const Strings& s) {
        Found f;
        SILICON_HOST_ASM("pcmpistri %[imm], %[b], %[a]"
                         : "=c"(f.index), SILICON_STRING_FLAGS(f)
                         : [a] "x"(s.a), [b] "x"(s.b), [imm] "i"(Imm));
        return f;
    }
    template <int Imm>
    static Found mask([[maybe_unused]] const Strings& s) {
        Found f;
        SILICON_HOST_ASM("pcmpistrm %[imm], %[b], %[a]"
                         : "=Yz"(f.mask), SILICON_STRING_FLAGS(f)
                         : [a] "x"(s.a), [b] "x"(s.b), [imm] "i"(Imm));
        return f;
    }
};

constexpr size_t controls = 128;

template <class Kind, size_t... N>
consteval auto each_index(std::index_sequence<N...>) {
    return std::array{&Kind::template index<int{N}>...};
}
template <class Kind, size_t... N>
consteval auto each_mask(std::index_sequence<N...>) {
    return std::array{&Kind::template mask<int{N}>...};
}
template <class Kind>
constexpr auto index_by = each_index<Kind>(std::make_index_sequence<controls>{});
template <class Kind>
constexpr auto mask_by = each_mask<Kind>(std::make_index_sequence<controls>{});

// The length is a signed number whose size counts, 16 at most. With REX.W it is the whole register.
template <class Width>
SILICON_INLINE u32 length_in(const Cpu& cpu, Gpr reg) {
    if constexpr (sizeof(Width) == 8)
        return u32(i32(std::clamp<i64>(i64(cpu.gpr[reg]), -16, 16)));
    else
        return u32(cpu.gpr[reg]);
}

template <class Width, class B>
SILICON_INLINE Loaded<Strings> strings_of(Cpu& cpu, const Insn& in) {
    const auto b = B::load(cpu, in);
    const Vec a = load_host<Vec>(cpu.xmm(in.reg[0]));
    return {{a, b.value, length_in<Width>(cpu, rax), length_in<Width>(cpu, rdx)}, b.ok};
}

SILICON_INLINE void set_flags(Cpu& cpu, const Found& f) {
    cpu.lazy = LazyFlags::of_bits((f.cf ? flag::cf : 0) | (f.zf ? flag::zf : 0) | (f.sf ? flag::sf : 0) | (f.of ? flag::of : 0));
}

template <class Kind, class A, class B, class Imm, class Width>
SILICON_INLINE Outcome string_index(Cpu& cpu, const Insn& in) {
    const auto s = strings_of<Width, B>(cpu, in);
    if (!s.ok) [[unlikely]] return Outcome::Stop;
    const Found f = index_by<Kind>[u8(in.imm) % controls](s.value);
    set_flags(cpu, f);
    cpu.set_gpr<u32>(rcx, f.index);
    return Outcome::Next;
}

template <class Kind, class A, class B, class Imm, class Width>
SILICON_INLINE Outcome string_mask(Cpu& cpu, const Insn& in) {
    const auto s = strings_of<Width, B>(cpu, in);
    if (!s.ok) [[unlikely]] return Outcome::Stop;
    const Found f = mask_by<Kind>[u8(in.imm) % controls](s.value);
    set_flags(cpu, f);
    store_host<Vec>(cpu.xmm(0), f.mask);
    return Outcome::Next;
}

}  // namespace

#include "ops_simd_string.inc"

}  // namespace silicon::x86
