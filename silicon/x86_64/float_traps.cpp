// The exceptions of SIMD floating point while some are not masked, number by number.
//
// The host runs with all of them masked, which differs in two ways. Underflow that is not masked is tininess alone, also of
// an exact result, and flush-to-zero has no effect then. And of a result that overflows or underflows without a mask,
// precision says whether it would be inexact with an exponent of any size: the operation is done once more on operands
// with their exponents moved away from the edge, which round in the same place.
// Intel SDM vol. 1, "Numeric Overflow Exception (#O)", "Numeric Underflow Exception (#U)", "Flush-To-Zero".
#include "silicon/x86_64/float_traps.h"

#include <bit>
#include <cstring>

#include "silicon/x86_64/host_float.h"
#include "silicon/x86_64/ops/host_simd.h"

namespace silicon::x86 {
namespace {

constexpr u32 overflow = 1 << 3, underflow = 1 << 4, precision = 1 << 5;

// A binary format: how many bits of the significand are stored, and the exponent of 1.
template <class F>
struct Format;
template <>
struct Format<float> {
    using Bits = u32;
    static constexpr unsigned stored = 23, bias = 127;
};
template <>
struct Format<double> {
    using Bits = u64;
    static constexpr unsigned stored = 52, bias = 1023;
};
template <class F>
using BitsOf = typename Format<F>::Bits;

template <class F>
constexpr BitsOf<F> fraction_mask = (BitsOf<F>{1} << Format<F>::stored) - 1;
template <class F>
constexpr BitsOf<F> sign_mask = BitsOf<F>{1} << (sizeof(F) * 8 - 1);

template <class F>
constexpr bool is_tiny(F value) {
    const BitsOf<F> magnitude = std::bit_cast<BitsOf<F>>(value) & ~sign_mask<F>;
    return magnitude != 0 && magnitude <= fraction_mask<F>;
}
static_assert(is_tiny(1e-310) && !is_tiny(0.0) && !is_tiny(-3e-308) && is_tiny(-1e-40f));

// The same sign and significand with the exponent of 1.
template <class F>
constexpr F at_one(F value) {
    auto bits = std::bit_cast<BitsOf<F>>(value);
    const BitsOf<F> sign = bits & sign_mask<F>;
    bits &= ~sign_mask<F>;
    if (is_tiny(value)) bits <<= std::countl_zero(bits) - int(sizeof(F) * 8 - 1 - Format<F>::stored);
    return std::bit_cast<F>(BitsOf<F>(sign | (bits & fraction_mask<F>) | BitsOf<F>{Format<F>::bias} << Format<F>::stored));
}
static_assert(at_one(-6.0) == -1.5 && at_one(0x1.8p-1070) == 1.5 && at_one(0x1p-149f) == 1.0f);

template <class F>
constexpr bool at_least_one(F value) {
    return (std::bit_cast<BitsOf<F>>(value) & ~sign_mask<F>) >= BitsOf<F>{Format<F>::bias} << Format<F>::stored;
}
static_assert(at_least_one(-1.0) && !at_least_one(0x1.fp-1f));

// A quarter of it. Only of numbers that overflow together: what falls out below was inexact before.
template <class F>
constexpr F quarter(F value) {
    auto bits = std::bit_cast<BitsOf<F>>(value);
    const BitsOf<F> exponent = bits & ~sign_mask<F> & ~fraction_mask<F>;
    constexpr BitsOf<F> two = BitsOf<F>{2} << Format<F>::stored;
    return exponent > two ? std::bit_cast<F>(BitsOf<F>(bits - two)) : value;
}
static_assert(quarter(-8.0) == -2.0 && quarter(1e-320) == 1e-320);

#define SCALAR(op, single_name, double_name)                                       \
    float op(float x, float y) {                                                   \
        SILICON_HOST_FLOAT_ASM(#single_name " %1, %0" : "+x"(x) : "x"(y));         \
        return x;                                                                  \
    }                                                                              \
    double op(double x, double y) {                                                \
        SILICON_HOST_FLOAT_ASM(#double_name " %1, %0" : "+x"(x) : "x"(y));         \
        return x;                                                                  \
    }
SCALAR(add, addss, addsd)
SCALAR(subtract, subss, subsd)
SCALAR(multiply, mulss, mulsd)
SCALAR(divide, divss, divsd)
#undef SCALAR

float narrow([[maybe_unused]] double x) {
    float y = 0;
    SILICON_HOST_FLOAT_ASM("cvtsd2ss %1, %0" : "+x"(y) : "x"(x));
    return y;
}

// Of an operation that is not carried out only the exceptions before it count.
// Intel SDM vol. 1, "SIMD Floating-Point Exceptions".
u32 counted(u32 raised, u32 csr) {
    return raised & mxcsr::unmasked(csr) & mxcsr::before_computing ? raised & mxcsr::before_computing : raised;
}

// What is left of the eight after the numbers are paired.
enum class Step : u8 { Add, Sub, Mul, Div, Narrow };

template <class F>
auto compute(Step step, F x, F y) {
    switch (step) {
        case Step::Add: return add(x, y);
        case Step::Sub: return subtract(x, y);
        case Step::Mul: return multiply(x, y);
        default: return divide(x, y);
    }
}

template <class F>
void compute_within_range(Step step, F x, F y) {
    const bool may_overflow = at_least_one(x) || at_least_one(y);  // else a sum that is tiny is exact as it stands
    if (step == Step::Add || step == Step::Sub)
        may_overflow ? compute(step, quarter(x), quarter(y)) : compute(step, x, y);
    else
        compute(step, at_one(x), at_one(y));
}

// One operation. `run` does it, `again` does it within the range of exponents.
template <class Run, class Again>
u32 flags_of(u32 csr, Run run, Again again) {
    const u32 unmasked = mxcsr::unmasked(csr);
    set_host_mxcsr(host_modes_of(csr));
    const bool tiny = is_tiny(run());
    u32 raised = host_mxcsr() & mxcsr::flags;
    if (tiny) raised |= unmasked & underflow;
    if (!(raised & unmasked & (overflow | underflow))) return raised;
    set_host_mxcsr(host_modes_of(csr) & ~(mxcsr::denormals_are_zero | mxcsr::flush_to_zero));
    again();
    return (raised & ~precision) | (host_mxcsr() & precision);
}

template <class F>
u32 step_flags(Step step, F x, F y, u32 csr, F* result = nullptr) {
    const auto run = [&] {
        const F value = compute(step, x, y);
        if (result) *result = value;
        return value;
    };
    return flags_of(csr, run, [&] { compute_within_range(step, x, y); });
}

u32 narrow_flags(double x, u32 csr) {
    return flags_of(csr, [&] { return narrow(x); }, [&] { narrow(at_one(x)); });
}

template <class F>
struct Numbers {
    static constexpr unsigned count = 16 / sizeof(F);
    F at[count];
    explicit Numbers(Vec v) { std::memcpy(at, &v, sizeof at); }
};

// The flags of lane n, whose operands may lie elsewhere.
template <class F>
u32 lane_flags(const FloatOperation& what, unsigned n, u32 csr) {
    const Numbers<F> a(what.a), b(what.b);
    const Numbers<F>& side = n < Numbers<F>::count / 2 ? a : b;
    const unsigned first = 2 * n % Numbers<F>::count;
    switch (what.rounds) {
        case Rounds::Add: return step_flags(Step::Add, a.at[n], b.at[n], csr);
        case Rounds::Sub: return step_flags(Step::Sub, a.at[n], b.at[n], csr);
        case Rounds::AddSub: return step_flags(n & 1 ? Step::Add : Step::Sub, a.at[n], b.at[n], csr);
        case Rounds::HorizontalAdd: return step_flags(Step::Add, side.at[first], side.at[first + 1], csr);
        case Rounds::HorizontalSub: return step_flags(Step::Sub, side.at[first], side.at[first + 1], csr);
        case Rounds::Mul: return step_flags(Step::Mul, a.at[n], b.at[n], csr);
        case Rounds::Div: return step_flags(Step::Div, a.at[n], b.at[n], csr);
        case Rounds::Narrow: return narrow_flags(Numbers<double>(what.b).at[n], csr);
    }
    return 0;
}

template <class F>
u32 all_flags(const FloatOperation& what, unsigned count, u32 csr) {
    u32 raised = 0;
    for (unsigned n = 0; n < count; ++n) raised |= lane_flags<F>(what, n, csr);
    return counted(raised, csr);
}

// Each step counts for itself; one that raises what is not masked is the last.
template <class F>
u32 dot_flags_of(Vec va, Vec vb, unsigned selected, u32 csr) {
    constexpr unsigned count = Numbers<F>::count;
    const u32 unmasked = mxcsr::unmasked(csr);
    const Numbers<F> a(va), b(vb);
    F product[count] = {}, half[2] = {};
    u32 raised = 0;
    for (unsigned n = 0; n < count; ++n)
        if (selected >> n & 1) raised |= step_flags(Step::Mul, a.at[n], b.at[n], csr, &product[n]);
    raised = counted(raised, csr);
    if (raised & unmasked) return raised;
    u32 adding = 0;
    for (unsigned n = 0; n < count / 2; ++n) adding |= step_flags(Step::Add, product[2 * n], product[2 * n + 1], csr, &half[n]);
    raised |= counted(adding, csr);
    if (count == 2 || raised & unmasked) return raised;
    return raised | counted(step_flags(Step::Add, half[0], half[1], csr), csr);
}

}  // namespace

u32 float_flags(const FloatOperation& what, u32 csr) {
    switch (what.lanes) {
        case Lanes::F32x1: return all_flags<float>(what, 1, csr);
        case Lanes::F32x4: return all_flags<float>(what, 4, csr);
        case Lanes::F64x1: return all_flags<double>(what, 1, csr);
        default: return all_flags<double>(what, 2, csr);
    }
}

u32 plain_flags(u32 csr) { return counted(host_mxcsr() & mxcsr::flags, csr); }

u32 dot_flags(Lanes lanes, Vec a, Vec b, unsigned selected, u32 csr) {
    return lanes == Lanes::F32x4 ? dot_flags_of<float>(a, b, selected, csr) : dot_flags_of<double>(a, b, selected, csr);
}

}  // namespace silicon::x86
