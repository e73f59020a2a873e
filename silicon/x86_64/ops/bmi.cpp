// BMI1 and BMI2. Rows: spec/x86_64/bmi.toml.
#include "silicon/x86_64/alu_bits.h"
#include "silicon/x86_64/alu_muldiv.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

using alu::Result;

template <class Dst, class A, class B>
SILICON_INLINE Outcome and_not(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const auto b = B::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const auto r = alu::andn<T>(A::load(cpu, in).value, b.value);
    cpu.lazy = r.flags;
    return Dst::store(cpu, in, r.value);
}

#define TWO(NAME, RESULT, EXPRESSION)                           \
    struct NAME {                                               \
        template <class T>                                      \
        static SILICON_INLINE RESULT of(T a, T b) {             \
            return EXPRESSION;                                  \
        }                                                       \
    };
TWO(Bextr, Result<T>, alu::bextr<T>(a, b))
TWO(Bzhi, Result<T>, alu::bzhi<T>(a, b))
TWO(Pdep, T, alu::pdep<T>(a, b))
TWO(Pext, T, alu::pext<T>(a, b))
TWO(Sarx, T, T(static_cast<std::make_signed_t<T>>(a) >> (b % bits_of<T>)))
TWO(Shlx, T, T(a << (b % bits_of<T>)))
TWO(Shrx, T, T(a >> (b % bits_of<T>)))
TWO(Rorx, T, std::rotr(a, int(b % bits_of<T>)))
#undef TWO

#define ONE(NAME, EXPRESSION)                                   \
    struct NAME {                                               \
        template <class T>                                      \
        static SILICON_INLINE Result<T> of(T a) {               \
            return EXPRESSION;                                  \
        }                                                       \
    };
ONE(Blsi, alu::blsi<T>(a))
ONE(Blsmsk, alu::blsmsk<T>(a))
ONE(Blsr, alu::blsr<T>(a))
#undef ONE

template <class O, class Dst, class A, class B>
SILICON_INLINE Outcome by_control(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const auto a = A::load(cpu, in);
    if (!a.ok) [[unlikely]] return Outcome::Stop;
    const auto r = O::template of<T>(a.value, B::load(cpu, in).value);
    cpu.lazy = r.flags;
    return Dst::store(cpu, in, r.value);
}

template <class O, class Dst, class A>
SILICON_INLINE Outcome lowest(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const auto a = A::load(cpu, in);
    if (!a.ok) [[unlikely]] return Outcome::Stop;
    const auto r = O::template of<T>(a.value);
    cpu.lazy = r.flags;
    return Dst::store(cpu, in, r.value);
}

// The first destination gets the upper half, and is written last: it may be the second one too.
template <class High, class Low, class Src>
SILICON_INLINE Outcome multiply_plain(Cpu& cpu, const Insn& in) {
    using T = typename High::type;
    const auto b = Src::load(cpu, in);
    if (!b.ok) [[unlikely]] return Outcome::Stop;
    const auto r = alu::mul<T>(cpu.get<T>(rdx * 8), b.value);
    Low::store(cpu, in, r.low);
    return High::store(cpu, in, r.high);
}

template <class O, class Dst, class A, class Mask>
SILICON_INLINE Outcome by_mask(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const auto mask = Mask::load(cpu, in);
    if (!mask.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, O::template of<T>(A::load(cpu, in).value, mask.value));
}

template <class O, class Dst, class A, class Count>
SILICON_INLINE Outcome shift_plain(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const auto a = A::load(cpu, in);
    if (!a.ok) [[unlikely]] return Outcome::Stop;
    return Dst::store(cpu, in, O::template of<T>(a.value, T(Count::load(cpu, in).value)));
}

}  // namespace

#include "ops_bmi.inc"

}  // namespace silicon::x86
