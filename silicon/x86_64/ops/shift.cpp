// Shifts and rotates. Rows: spec/x86_64/shift.toml.
#include "silicon/x86_64/alu_shift.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

using alu::Result;

#define SHIFT(NAME, EXPRESSION)                                                                 \
    struct NAME {                                                                               \
        template <class T>                                                                      \
        static SILICON_INLINE Result<T> of(T a, unsigned count, const LazyFlags& before) {      \
            (void)before;                                                                       \
            return EXPRESSION;                                                                  \
        }                                                                                       \
    };
SHIFT(Shl, alu::shl<T>(a, count))
SHIFT(Shr, alu::shr<T>(a, count))
SHIFT(Sar, alu::sar<T>(a, count))
SHIFT(Rol, alu::rol<T>(a, count, before))
SHIFT(Ror, alu::ror<T>(a, count, before))
SHIFT(Rcl, alu::rcl<T>(a, count, before))
SHIFT(Rcr, alu::rcr<T>(a, count, before))
#undef SHIFT

struct Shld {
    template <class T>
    static SILICON_INLINE Result<T> of(T a, T from, unsigned count) {
        return alu::shld<T>(a, from, count);
    }
};
struct Shrd {
    template <class T>
    static SILICON_INLINE Result<T> of(T a, T from, unsigned count) {
        return alu::shrd<T>(a, from, count);
    }
};

// A count of 0 writes the destination too: a 32-bit register is zero-extended, read-only memory faults.
template <class Dst>
SILICON_INLINE Outcome write_back(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    if constexpr (!Dst::memory) {
        return Dst::store(cpu, in, Dst::load(cpu, in).value);
    } else {
        u8* at = place<Dst>(cpu, in);
        if (!at) [[unlikely]] return Outcome::Stop;
        store_host<T>(at, load_host<T>(at));
        return cpu.commit(at);
    }
}

template <class O, class Dst, class Count>
SILICON_INLINE Outcome shift(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const unsigned count = unsigned(Count::load(cpu, in).value) & alu::count_mask<T>;
    if (count == 0) [[unlikely]] return write_back<Dst>(cpu, in);
    return update<Dst>(cpu, in, [&](T a) { return O::template of<T>(a, count, cpu.lazy); });
}

template <class O, class Dst, class Src, class Count>
SILICON_INLINE Outcome shift_double(Cpu& cpu, const Insn& in) {
    using T = typename Dst::type;
    const unsigned count = unsigned(Count::load(cpu, in).value) & alu::count_mask<T>;
    const T from = Src::load(cpu, in).value;
    if (count == 0) [[unlikely]] return write_back<Dst>(cpu, in);
    return update<Dst>(cpu, in, [&](T a) { return O::template of<T>(a, from, count); });
}

}  // namespace

#include "ops_shift.inc"

}  // namespace silicon::x86
