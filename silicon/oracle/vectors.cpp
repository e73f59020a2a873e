#include "silicon/oracle/vectors.h"

#include <cstring>

#include "silicon/oracle/fx_state.h"
#include "silicon/x86_64/host_float.h"

namespace silicon::oracle {

namespace {

// A binary floating-point format whose integer bit is not stored.
struct Format {
    unsigned exponent_bits, fraction_bits;
};
constexpr Format single{8, 23}, twice{11, 52};

constexpr u64 low(unsigned bits) { return (u64{1} << bits) - 1; }

// Few bits at one end or the other, all ones, or anything: what rounds up, down, to even and over.
u64 random_fraction(Rng& rng, unsigned bits) {
    switch (rng.below(8)) {
        case 0:
        case 1: return 0;
        case 2: return low(bits);
        case 3: return rng.below(4) & low(bits);
        case 4: return u64{1} << rng.below(bits);
        case 5: return (rng.next() & 7) << (bits - 3);
        default: return rng.next() & low(bits);
    }
}

// Near the powers of two at which conversions to 8, 16, 32 and 64 bits overflow, with something behind the point.
u64 near_integer(Rng& rng, const Format& f) {
    static constexpr unsigned powers[] = {0, 1, 7, 8, 15, 16, 31, 32, 52, 53, 62, 63, 64};
    const u64 bias = low(f.exponent_bits - 1);
    const u64 exponent = bias + rng.pick(powers) + rng.below(3) - 1;
    return exponent << f.fraction_bits | random_fraction(rng, f.fraction_bits);
}

u64 random_float(Rng& rng, const Format& f) {
    const u64 top = low(f.exponent_bits), bias = top >> 1, fraction = random_fraction(rng, f.fraction_bits);
    const u64 sign = rng.below(2) << (f.exponent_bits + f.fraction_bits);
    u64 exponent = bias;
    switch (rng.below(16)) {
        case 0: return sign;                                          // zero
        case 1: return sign | top << f.fraction_bits;                 // infinity
        case 2: return sign | top << f.fraction_bits | fraction;      // some NaN, or infinity
        case 3: return sign | top << f.fraction_bits | (fraction & low(f.fraction_bits - 1)) | 1;  // signalling NaN
        case 4: return sign | fraction;                               // denormal
        case 5: exponent = 1 + rng.below(3); break;
        case 6: exponent = top - 1 - rng.below(3); break;
        case 7: exponent = bias / 2 + rng.below(4); break;            // its square is at the edge of denormals
        case 8: exponent = bias + bias / 2 + rng.below(4); break;     // its square overflows
        case 9:
        case 10: return sign | near_integer(rng, f);
        case 11: exponent = rng.below(top); break;
        default: exponent = bias - 4 + rng.below(9); break;
    }
    return sign | exponent << f.fraction_bits | fraction;
}

u64 random_integers(Rng& rng) {
    static constexpr u8 bytes[] = {0, 1, 0x7f, 0x80, 0x81, 0xff};
    static constexpr u16 words[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x7f, 0x80, 0xff, 0x100, 0xff7f, 0xff80};
    static constexpr u32 longs[] = {0, 1, 0x7fff'ffff, 0x8000'0000, 0xffff'ffff, 0x7fff, 0x8000, 0xffff, 0xffff'8000};
    u64 value = 0;
    switch (rng.below(6)) {
        case 0:
            for (unsigned n = 0; n < 8; ++n) value = value << 8 | rng.pick(bytes);
            return value;
        case 1:
            for (unsigned n = 0; n < 4; ++n) value = value << 16 | rng.pick(words);
            return value;
        case 2: return u64{rng.pick(longs)} << 32 | rng.pick(longs);
        case 3: return rng.below(80);  // shift counts
        case 4: return rng.next() & 0x8080'8080'8080'8080;
        default: return rng.next();
    }
}

u64 random_mantissa(Rng& rng) { return u64{1} << 63 | random_fraction(rng, 63); }

void put80(u8* to, u64 sign_and_exponent, u64 mantissa) {
    std::memcpy(to, &mantissa, 8);
    const u16 high = u16(sign_and_exponent);
    std::memcpy(to + 8, &high, 2);
}

}  // namespace

u32 mxcsr_bits() { return x86::mxcsr_mask(); }

u32 random_float32(Rng& rng) { return u32(random_float(rng, single)); }
u64 random_float64(Rng& rng) { return random_float(rng, twice); }

void random_float80(Rng& rng, u8* to) {
    constexpr u64 top = 0x7fff, bias = 0x3fff;
    const u64 sign = rng.below(2) << 15, mantissa = random_mantissa(rng);
    static constexpr u64 powers[] = {0, 1, 7, 15, 16, 31, 32, 59, 62, 63, 64};  // 59: 18 decimal digits of FBSTP
    static constexpr u64 edges[] = {0x3f80, 0x3f81, 0x407e, 0x407f, 0x3c00, 0x3c01, 0x43fe, 0x43ff, 0x3fdd, 0x1fff};
    switch (rng.below(20)) {
        case 0:
        case 1: return put80(to, sign, 0);
        case 2: return put80(to, sign | top, u64{1} << 63);
        case 3: return put80(to, sign | top, mantissa);                                // a NaN, or infinity
        case 4: return put80(to, sign | top, (mantissa & ~(u64{1} << 62)) | 1);        // signalling NaN
        case 5: return put80(to, sign, mantissa & low(63));                            // denormal
        case 6: return put80(to, sign, mantissa);                                      // pseudo-denormal
        case 7: return put80(to, sign | (1 + rng.below(top)), mantissa & low(63));     // unnormal, pseudo-NaN
        case 8: return put80(to, sign | (1 + rng.below(3)), mantissa);
        case 9: return put80(to, sign | (top - 1 - rng.below(3)), mantissa);
        case 10:
        case 11:
        case 12: return put80(to, sign | (bias + rng.pick(powers) + rng.below(3) - 1), mantissa);
        case 13: return put80(to, sign | rng.pick(edges), mantissa);                   // where singles and doubles end
        case 14: return put80(to, sign | rng.below(top), mantissa);
        case 15: return put80(to, top | 0x8000, rng.next());                           // as MMX leaves it
        default: return put80(to, sign | (bias - 4 + rng.below(9)), mantissa);
    }
}

u64 random_lanes(Rng& rng) {
    switch (rng.below(4)) {
        case 0: return random_float64(rng);
        case 1: return u64{random_float32(rng)} << 32 | random_float32(rng);
        case 2: return random_integers(rng);
        default: return rng.chance(50) ? rng.next() : random_integers(rng);
    }
}

u32 random_mxcsr(Rng& rng) {
    using namespace x86::mxcsr;
    u32 value = initial;
    if (rng.chance(50)) value |= u32(rng.below(4)) << 13;  // rounding
    if (rng.chance(20)) value |= 1 << 6;                   // denormals are zero
    if (rng.chance(20)) value |= 1 << 15;                  // flush to zero
    if (rng.chance(25)) value |= u32(rng.next()) & flags;
    if (rng.chance(20)) value &= ~(u32(rng.next()) & masks);
    return value & mxcsr_bits();
}

u16 random_control_word(Rng& rng) {
    u16 value = 0x37f;
    if (rng.chance(50)) value = u16((value & ~0xc00) | rng.below(4) << 10);  // rounding
    static constexpr u16 precisions[] = {0x000, 0x200, 0x300};  // 24, 53 and 64 bits
    if (rng.chance(35)) value = u16((value & ~0x300) | rng.pick(precisions));
    if (rng.chance(20)) value = u16(value & ~(rng.next() & 0x3f));
    if (rng.chance(5)) value = u16(value | 0x1000);
    return value;
}

// Mostly a stack of some depth; else any tags. Exceptions that are not masked are pending.
static void random_x87(Rng& rng, x86::FxState& fx) {
    fx.fcw = random_control_word(rng);
    const unsigned top = rng.chance(25) ? 0 : unsigned(rng.below(8)), depth = unsigned(rng.below(9));
    u64 status = top << 11;
    if (rng.chance(30)) status |= rng.next() & 0x4700;  // condition codes
    if (rng.chance(25)) status |= rng.next() & (rng.chance(60) ? u64{fx.fcw} & 0x3f : 0x3f);
    if (status & 1 && rng.chance(50)) status |= 0x40;   // stack fault
    fx.fsw = u16(status);
    summarise_exceptions(fx);
    unsigned tags = 0;
    for (unsigned n = 0; n < depth; ++n) tags |= 1u << ((top + n) & 7);
    fx.ftw = u8(rng.chance(80) ? tags : rng.next());
    fx.fop = u16(rng.next() & 0x7ff);
    fx.fip = code_at + rng.below(code_bytes);
    fx.fdp = data_at + rng.below(data_bytes);
    for (auto& st : fx.st) random_float80(rng, st);
}

x86::FxState random_fx(Rng& rng) {
    x86::FxState fx;
    random_x87(rng, fx);
    fx.mxcsr = random_mxcsr(rng);
    for (auto& xmm : fx.xmm) {
        const u64 kind = rng.below(4);  // like lanes make operations likely that mean them
        for (unsigned at = 0; at < 16; at += 8) {
            u64 value = random_lanes(rng);
            if (kind == 0) value = random_float64(rng);
            if (kind == 1) value = u64{random_float32(rng)} << 32 | random_float32(rng);
            std::memcpy(xmm + at, &value, 8);
        }
    }
    return fx;
}

}  // namespace silicon::oracle
