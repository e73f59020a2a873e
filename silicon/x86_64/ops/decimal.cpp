// Decimal adjustments, outside 64-bit code only. Rows: spec/x86_64/decimal.toml.
#include "silicon/x86_64/alu_decimal.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

#define ADJUST(NAME, FUNCTION)                                                                  \
    struct NAME {                                                                               \
        template <class T>                                                                      \
        static SILICON_INLINE alu::Result<T> of(T a, const LazyFlags& before) {                 \
            return alu::FUNCTION(a, before.af_set(), before.cf());                              \
        }                                                                                       \
    };
ADJUST(Daa, daa)
ADJUST(Das, das)
ADJUST(Aaa, aaa)
ADJUST(Aas, aas)
#undef ADJUST

template <class O>
SILICON_INLINE void decimal_adjust(Cpu& cpu, const Insn&) {
    const auto r = O::template of<u8>(cpu.get<u8>(rax * 8), cpu.lazy);
    cpu.set_gpr<u8>(rax, r.value);
    cpu.lazy = r.flags;
}

template <class O>
SILICON_INLINE void ascii_adjust(Cpu& cpu, const Insn&) {
    const auto r = O::template of<u16>(cpu.get<u16>(rax * 8), cpu.lazy);
    cpu.set_gpr<u16>(rax, r.value);
    cpu.lazy = r.flags;
}

template <class Base>
SILICON_INLINE Outcome ascii_multiply(Cpu& cpu, const Insn& in) {
    const u8 base = u8(Base::load(cpu, in).value), al = cpu.get<u8>(rax * 8);
    if (base == 0) return cpu.raise(vector_de);
    const u8 low = al % base;
    cpu.set_gpr<u16>(rax, u16(al / base << 8 | low));
    cpu.lazy = LazyFlags::of_logic<u8>(low);
    return Outcome::Next;
}

template <class Base>
SILICON_INLINE void ascii_divide(Cpu& cpu, const Insn& in) {
    const u16 ax = cpu.get<u16>(rax * 8);
    const u8 low = u8(ax + (ax >> 8) * u8(Base::load(cpu, in).value));
    cpu.set_gpr<u16>(rax, low);
    cpu.lazy = LazyFlags::of_logic<u8>(low);
}

}  // namespace

#include "ops_decimal.inc"

}  // namespace silicon::x86
