// x87 and SSE state to and from memory, and MXCSR. Rows: spec/x86_64/xsave.toml.
// Intel SDM vol. 1, "Managing State Using the XSAVE Feature Set".
#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "silicon/x86_64/host_float.h"
#include "silicon/x86_64/ops/table.h"

namespace silicon::x86 {
namespace {

template <class Src>
SILICON_INLINE Outcome load_mxcsr(Cpu& cpu, const Insn& in) {
    const auto v = Src::load(cpu, in);
    if (!v.ok) [[unlikely]] return Outcome::Stop;
    if (v.value & ~mxcsr_mask()) return cpu.raise(vector_gp, 0);
    cpu.set_mxcsr(v.value);
    return Outcome::Next;
}

template <class Dst>
SILICON_INLINE Outcome store_mxcsr(Cpu& cpu, const Insn& in) {
    return Dst::store(cpu, in, cpu.mxcsr());
}

// FIP and FDP: 32 bits, or 64 with REX.W. The selectors beside the narrow ones are 0: CPUID says so.
enum class Pointers : u8 { Narrow, Wide };
enum class Saving : u8 { All, InUse, Compact };

constexpr u64 x87_part = 1, sse_part = 2, compact_format = u64{1} << 63;
constexpr unsigned header_at = sizeof(FxState), header_bytes = 64, whole_bytes = header_at + header_bytes;

struct Header {
    u64 in_use = 0, format = 0;  // XSTATE_BV, XCOMP_BV
    u64 reserved[6] = {};
};
static_assert(sizeof(Header) == header_bytes);

// What lies in memory, as far as we have components.
struct Image {
    FxState fx;
    Header header;
};
static_assert(sizeof(Image) == whole_bytes);

// Bytes of an image: from, and one past.
struct Part {
    unsigned from, to;
};
constexpr Part x87_control{0, 24}, mxcsr_bytes{24, 32}, x87_registers{32, 160}, whole_header{header_at, whole_bytes};
Part xmm_registers(const Cpu& cpu) { return {160, cpu.in_long64() ? 416u : 288u}; }

template <unsigned Alignment, class Whole>
Linear area(Cpu& cpu, const Insn& in, Access access) {
    const Linear at = cpu.linear<Whole>(in, access);
    if (!at.ok) return at;
    // Also where no byte of its beginning is asked for.
    if (cpu.in_long64() && !(cpu.canonical(at.value) && cpu.canonical(at.value + sizeof(Whole) - 1)))
        return cpu.raise(in.seg == Seg::Ss ? vector_ss : vector_gp, 0), Linear{0, false};
    if (at.value % Alignment) return cpu.raise(vector_gp, 0), Linear{0, false};
    return at;
}

// All pages are checked before the first byte moves: a device may be among them.
bool read(Cpu& cpu, u64 at, Part part, void* image) {
    if (!cpu.probe_read(at + part.from, part.to - part.from)) return false;
    for (unsigned n = part.from; n < part.to; n += 8) {
        const auto v = cpu.load<u64>(at + n);
        if (!v.ok) return false;
        std::memcpy(static_cast<u8*>(image) + n, &v.value, 8);
    }
    return true;
}

Outcome write(Cpu& cpu, u64 at, const Part* parts, unsigned count, const void* image) {
    for (unsigned n = 0; n < count; ++n)
        if (!cpu.probe_write(at + parts[n].from, parts[n].to - parts[n].from)) return Outcome::Stop;
    Outcome result = Outcome::Next;
    for (const Part* part = parts; part < parts + count; ++part) {
        for (unsigned n = part->from; n < part->to; n += 8) {
            const Outcome out = cpu.store<u64>(at + n, load_host<u64>(static_cast<const u8*>(image) + n));
            if (out == Outcome::Stop) return out;
            if (out == Outcome::Leave) result = out;
        }
    }
    return result;
}

template <Pointers Width>
void cut_pointers(FxState& image) {
    if (Width == Pointers::Wide) return;
    image.fip = u32(image.fip);
    image.fdp = u32(image.fdp);
}

template <Pointers Width>
FxState image_of(Cpu& cpu) {
    cpu.mxcsr();  // with the flags that the host has gathered
    FxState image = cpu.fx_image();
    cut_pointers<Width>(image);
    return image;
}

// All 512 bytes are the operand, though the last of them are not written.
template <Pointers Width, class Any>
Outcome save_legacy(Cpu& cpu, const Insn& in) {
    const Linear at = area<16, FxState>(cpu, in, Access::Write);
    if (!at.ok || !cpu.probe_write(at.value, sizeof(FxState))) return Outcome::Stop;
    const FxState image = image_of<Width>(cpu);
    const Part parts[] = {{0, xmm_registers(cpu).to}};
    return write(cpu, at.value, parts, 1, &image);
}

// The parts of `from` that a restore brings; outside 64-bit code the upper eight XMM registers stay.
void take_x87(FxState& to, const FxState& from) {
    std::copy_n(reinterpret_cast<const u8*>(&from), x87_control.to, reinterpret_cast<u8*>(&to));
    std::memcpy(to.st, from.st, sizeof to.st);
}
void take_xmm(const Cpu& cpu, FxState& to, const FxState& from) {
    const Part part = xmm_registers(cpu);
    std::memcpy(to.xmm, from.xmm, part.to - part.from);
}

template <Pointers Width, class Any>
Outcome restore_legacy(Cpu& cpu, const Insn& in) {
    const Linear at = area<16, FxState>(cpu, in, Access::Read);
    FxState from;
    if (!at.ok || !cpu.probe_read(at.value, sizeof from)) return Outcome::Stop;
    if (!read(cpu, at.value, {0, xmm_registers(cpu).to}, &from)) return Outcome::Stop;
    if (from.mxcsr & ~mxcsr_mask()) return cpu.raise(vector_gp, 0);
    cut_pointers<Width>(from);
    FxState image = cpu.fx_image();
    take_x87(image, from);
    take_xmm(cpu, image, from);
    image.mxcsr = from.mxcsr;
    cpu.set_fx_image(image);
    return Outcome::Next;
}

bool usable(Cpu& cpu) {
    if (!(cpu.cr4 & cr4::osxsave)) return cpu.raise(vector_ud), false;
    return !(cpu.cr0 & cr0::ts) || (cpu.raise(vector_nm), false);
}

// The components that the instruction is about.
u64 requested(const Cpu& cpu) { return (u64{u32(cpu.gpr[rdx])} << 32 | u32(cpu.gpr[rax])) & cpu.xcr0; }

template <Saving How, Pointers Width, class Any>
Outcome save_extended(Cpu& cpu, const Insn& in) {
    if (!usable(cpu)) return Outcome::Stop;
    const Linear at = area<64, Image>(cpu, in, Access::Write);
    if (!at.ok) return Outcome::Stop;
    Image image{image_of<Width>(cpu), {}};
    const u64 wanted = requested(cpu), in_use = cpu.components_in_use() & wanted;
    u64 saved = How == Saving::All ? wanted : in_use;
    bool with_mxcsr = wanted & sse_part;
    if constexpr (How == Saving::Compact) {
        if (image.fx.mxcsr != mxcsr::initial) saved |= wanted & sse_part;
        with_mxcsr = saved & sse_part;
        image.header = {saved, wanted | compact_format, {}};
    } else {
        const auto old = cpu.load<u64>(at.value + header_at);
        if (!old.ok) return Outcome::Stop;
        image.header.in_use = (old.value & ~wanted) | in_use;
    }
    Part parts[5] = {{header_at, header_at + (How == Saving::Compact ? 16u : 8u)}};
    unsigned count = 1;
    if (saved & x87_part) parts[count++] = x87_control, parts[count++] = x87_registers;
    if (with_mxcsr) parts[count++] = mxcsr_bytes;
    if (saved & sse_part) parts[count++] = xmm_registers(cpu);
    return write(cpu, at.value, parts, count, &image);
}

// Intel SDM vol. 1, "Standard Form of XRSTOR", "Compacted Form of XRSTOR".
bool header_is_right(const Cpu& cpu, const Header& header) {
    const auto zero = [](u64 word) { return word == 0; };
    if (!(header.format & compact_format))
        return !(header.in_use & ~cpu.xcr0) && header.format == 0 && header.reserved[0] == 0;
    const u64 format = header.format & ~compact_format;
    return cpu.cpuid.has(Feature::XSAVEC) && !(format & ~cpu.xcr0) && !(header.in_use & ~format) &&
           std::all_of(std::begin(header.reserved), std::end(header.reserved), zero);
}

// What of the image in memory counts, read into `image`; the rest of it is the initial state.
bool read_components(Cpu& cpu, u64 at, u64 present, bool with_mxcsr, FxState& image) {
    if (with_mxcsr && !read(cpu, at, mxcsr_bytes, &image)) return false;
    if (present & x87_part && !(read(cpu, at, x87_control, &image) && read(cpu, at, x87_registers, &image))) return false;
    return !(present & sse_part) || read(cpu, at, xmm_registers(cpu), &image);
}

template <Pointers Width, class Any>
Outcome restore_extended(Cpu& cpu, const Insn& in) {
    if (!usable(cpu)) return Outcome::Stop;
    const Linear at = area<64, Image>(cpu, in, Access::Read);
    Image memory;
    if (!at.ok || !read(cpu, at.value, whole_header, &memory)) return Outcome::Stop;
    if (!header_is_right(cpu, memory.header)) return cpu.raise(vector_gp, 0);
    const u64 wanted = requested(cpu), present = wanted & memory.header.in_use;
    const bool compact = memory.header.format & compact_format;
    const bool with_mxcsr = (compact ? present : wanted) & sse_part;
    if (!read_components(cpu, at.value, present, with_mxcsr, memory.fx)) return Outcome::Stop;
    if (memory.fx.mxcsr & ~mxcsr_mask()) return cpu.raise(vector_gp, 0);
    cut_pointers<Width>(memory.fx);
    cpu.mxcsr();
    FxState image = cpu.fx_image();
    if (wanted & x87_part) take_x87(image, memory.fx);
    if (wanted & sse_part) take_xmm(cpu, image, memory.fx), image.mxcsr = memory.fx.mxcsr;
    cpu.set_fx_image(image);
    return Outcome::Next;
}

}  // namespace

#include "ops_xsave.inc"

}  // namespace silicon::x86
