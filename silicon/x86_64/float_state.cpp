// x87 and SSE state: its images in memory, and MXCSR, which the host shares while a guest runs.
#include <algorithm>
#include <cstring>

#include "silicon/x86_64/cpu.h"
#include "silicon/x86_64/host_float.h"
#include "silicon/x86_64/host_x87.h"

namespace silicon::x86 {
namespace {

// Intel SDM vol. 1, "XSAVE Header".
constexpr size_t header_at = sizeof(FxState), header_bytes = 64;
constexpr u64 x87_part = 1, sse_part = 2, x87_and_sse = x87_part | sse_part;

// What XSTATE_BV leaves out is restored to its initial state; MXCSR always comes from the image.
// Intel SDM vol. 1, "Standard Form of XRSTOR".
void clear_parts(FxState& image, const u8* header) {
    const FxState initial;
    u64 present;
    std::memcpy(&present, header, sizeof present);
    if (!(present & x87_part)) {
        std::memcpy(static_cast<void*>(&image), &initial, offsetof(FxState, mxcsr));
        std::memcpy(image.st, initial.st, sizeof initial.st);
    }
    if (!(present & sse_part)) std::memcpy(image.xmm, initial.xmm, sizeof initial.xmm);
}

}  // namespace

u32 mxcsr_mask() {
    static const u32 mask = [] {
#if defined(__x86_64__)
        alignas(16) FxState image{};
        asm volatile("fxsave %0" : "=m"(image));
        if (image.mxcsr_mask) return image.mxcsr_mask & mxcsr::known;
#endif
        return u32{0xffbf};
    }();
    return mask;
}

// The x87 registers by their place on the stack: ST(0) first.
FxState Cpu::fx_image() const {
    FxState image = fx;
    for (unsigned n = 0; n < 8; ++n) std::memcpy(image.st[n], fx.st[(fx.top() + n) & 7], sizeof fx.st[n]);
    image.mxcsr_mask = mxcsr_mask();
    return image;
}

void Cpu::set_fx_image(const FxState& image) {
    const u32 csr = image.mxcsr & mxcsr_mask();
    fx = image;
    for (unsigned n = 0; n < 8; ++n) {
        u8* place = fx.st[(image.top() + n) & 7];
        std::memcpy(place, image.st[n], 10);
        std::fill(place + 10, place + 16, u8{0});
    }
    fx.fcw = x87::control_of(image.fcw);
    fx.fsw = x87::with_summary(image.fsw, fx.fcw);
    fx.unused0 = 0;
    std::fill(std::begin(fx.unused1), std::end(fx.unused1), u8{0});
    fx.mxcsr_mask = 0;
    set_mxcsr(csr);
    x87_changed();
}

std::vector<u8> Cpu::xsave_image() const {
    std::vector<u8> bytes(xsave_bytes);
    const FxState image = fx_image();
    std::memcpy(bytes.data(), &image, sizeof image);
    std::copy(extended.begin(), extended.end(), bytes.begin() + sizeof image);
    u64 in_use;
    std::memcpy(&in_use, bytes.data() + header_at, sizeof in_use);
    in_use |= x87_and_sse;
    std::memcpy(bytes.data() + header_at, &in_use, sizeof in_use);
    return bytes;
}

// Intel SDM vol. 1, "Standard Form of XRSTOR": its conditions for #GP. State components are judged by what XCR0 may have, not
// by what it has: an image outlives the XCR0 of the moment, and one that was read always has x87 and SSE.
const char* Cpu::xsave_problem(const u8* bytes, size_t size) {
    u64 header[3] = {0, 0, 0};
    u32 csr = 0;
    if (size >= header_at + header_bytes) std::memcpy(header, bytes + header_at, sizeof header);
    if (size >= offsetof(FxState, mxcsr) + sizeof csr) std::memcpy(&csr, bytes + offsetof(FxState, mxcsr), sizeof csr);
    if (csr & ~mxcsr_mask()) return "MXCSR has reserved bits";
    if (header[0] & ~xcr0_known) return "XSTATE_BV names state components beyond x87 and SSE";
    if (header[1]) return "XCOMP_BV is not 0: only the standard form is known";
    return header[2] ? "bytes 16 to 23 of the XSAVE header are not 0" : nullptr;
}

// What the image does not reach stays; one without a header has both parts.
void Cpu::set_xsave_image(const u8* bytes, size_t size) {
    FxState image = fx_image();
    std::memcpy(&image, bytes, std::min(size, sizeof image));
    if (size >= header_at + header_bytes) clear_parts(image, bytes + header_at);
    set_fx_image(image);
    if (size > sizeof image) std::copy(bytes + sizeof image, bytes + std::min<size_t>(size, xsave_bytes), extended.begin());
}

// Intel SDM vol. 1, "Processor Tracking of XSAVE-Managed State". Outside 64-bit code only eight XMM registers count.
u64 Cpu::components_in_use() const {
    const auto any = [](const void* bytes, size_t count) {
        const u8* first = static_cast<const u8*>(bytes);
        return std::any_of(first, first + count, [](u8 byte) { return byte != 0; });
    };
    const FxState initial;
    const bool x87 = std::memcmp(&fx, &initial, offsetof(FxState, mxcsr)) != 0 || any(fx.st, sizeof fx.st);
    const bool sse = any(fx.xmm, in_long64() ? sizeof fx.xmm : sizeof fx.xmm / 2);
    return u64{x87} | u64{sse} << 1;
}

void Cpu::borrow_float() {
    host_mxcsr_ = host_mxcsr();
    set_mxcsr(fx.mxcsr);
}

void Cpu::return_float() {
    fx.mxcsr |= host_mxcsr() & mxcsr::flags;
    set_host_mxcsr(host_mxcsr_);
    if (!x87_lent_) return;
    set_host_x87_control(host_x87_control_);
    x87_lent_ = x87_ready_ = false;
}

void Cpu::lend_x87() {
    if (!x87_lent_) host_x87_control_ = host_x87_control();
    x87_lent_ = true;
}

void Cpu::prepare_x87() {
    lend_x87();
    if (host_x87_status() & x87::exceptions & ~fx.fsw) clear_host_x87();
    set_host_x87_control(fx.fcw | x87::exceptions);
    x87_ready_ = true;
}

u32 Cpu::mxcsr() {
    if (user_.inside.load(std::memory_order_relaxed)) fx.mxcsr |= host_mxcsr() & mxcsr::flags;
    return fx.mxcsr;
}

void Cpu::set_mxcsr(u32 value) {
    fx.mxcsr = value;
    float_traps_ = (value & mxcsr::masks) != mxcsr::masks;
    if (user_.inside.load(std::memory_order_relaxed)) set_host_mxcsr(host_modes_of(value));
}

// The flags of this operation alone: the host's are taken away after each one while something is not masked.
bool Cpu::float_trap() { return settle_float(plain_flags(fx.mxcsr)); }
bool Cpu::float_trap(const FloatOperation& what) { return settle_float(float_flags(what, fx.mxcsr)); }
bool Cpu::dot_trap(Lanes lanes, Vec a, Vec b, unsigned selected) { return settle_float(dot_flags(lanes, a, b, selected, fx.mxcsr)); }

bool Cpu::settle_float(u32 raised) {
    set_host_mxcsr(host_modes_of(fx.mxcsr));
    fx.mxcsr |= raised;
    if (!(raised & mxcsr::unmasked(fx.mxcsr))) return false;
    raise(cr4 & cr4::osxmmexcpt ? vector_xm : vector_ud);
    return true;
}

}  // namespace silicon::x86
