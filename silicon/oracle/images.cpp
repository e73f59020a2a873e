#include "silicon/oracle/images.h"

#include <algorithm>
#include <cstring>

#include "silicon/x86_64/event.h"

namespace silicon::oracle {

bool restores_extended(ZydisMnemonic mnemonic) {
    return mnemonic == ZYDIS_MNEMONIC_XRSTOR || mnemonic == ZYDIS_MNEMONIC_XRSTOR64;
}

bool restores_image(ZydisMnemonic mnemonic) {
    return mnemonic == ZYDIS_MNEMONIC_FXRSTOR || mnemonic == ZYDIS_MNEMONIC_FXRSTOR64 || restores_extended(mnemonic);
}

bool is_extended_instruction(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_XSAVE:
        case ZYDIS_MNEMONIC_XSAVE64:
        case ZYDIS_MNEMONIC_XSAVEOPT:
        case ZYDIS_MNEMONIC_XSAVEOPT64:
        case ZYDIS_MNEMONIC_XSAVEC:
        case ZYDIS_MNEMONIC_XSAVEC64: return true;
        default: return restores_extended(mnemonic);
    }
}

bool is_image_instruction(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXSAVE64: return true;
        default: return restores_image(mnemonic) || is_extended_instruction(mnemonic);
    }
}

// Intel SDM vol. 1, "XCR0": read where CPUID.1:ECX.OSXSAVE says that one may.
u64 host_components() {
#if defined(__x86_64__)
    static const u64 components = [] {
        u32 eax = 1, ebx, ecx = 0, edx;
        asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
        if (!(ecx >> 27 & 1)) return x86::xcr0_known;
        asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
        return u64{edx} << 32 | eax;
    }();
    return components;
#else
    return x86::xcr0_known;
#endif
}

u64 foreign_components() { return host_components() & ~x86::xcr0_known; }

u64 operand_address(const Program& p, const Decoded& d, const ZydisDecodedOperand& operand, u64 next_rip) {
    const auto value = [&](ZydisRegister reg) {
        if (reg == ZYDIS_REGISTER_NONE) return u64{0};
        if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) return next_rip;
        const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
        return p.before.gpr[ZydisRegisterGetId(whole)];
    };
    const u64 at = value(operand.mem.base) + value(operand.mem.index) * operand.mem.scale + u64(operand.mem.disp.value);
    const u64 width = d.insn.address_width;
    return data_base(p.bits) + (width == 64 ? at : at & ((u64{1} << width) - 1));
}

static std::optional<u64> image_of(const Program& program, ZydisMnemonic& mnemonic) {
    if (program.steps.empty()) return {};
    const Step& step = program.steps[0];
    if (!std::memchr(step.bytes, 0x0f, step.length)) return {};  // most: 0F AE, 0F C7
    const Decoded d = decode(step.bytes, step.length, program.bits);
    if (!d.ok() || !is_image_instruction(d.insn.mnemonic)) return {};
    mnemonic = d.insn.mnemonic;
    return operand_address(program, d, d.operands[0], program.step_address(1));
}

std::optional<u64> image_of(const Program& program) {
    ZydisMnemonic mnemonic;
    return image_of(program, mnemonic);
}

// The first instruction restores from an image whose header the program does not set: it may name components that only
// the host has.
static bool takes_any_header(const Program& program) {
    ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
    const std::optional<u64> at = image_of(program, mnemonic);
    if (!at || !restores_extended(mnemonic)) return false;
    const auto sets = [&](u64 address) {
        return std::any_of(std::begin(program.patches), std::end(program.patches),
                           [&](const Change& patch) { return patch.address == address; });
    };
    return !sets(*at + sizeof(x86::FxState)) || !sets(*at + sizeof(x86::FxState) + 8);
}

// Which of an image's bytes are looked at, and in which order, where not all of them can be, or where a header or the
// segment is wrong too: AMD's FXSAVE and FXRSTOR begin with the last byte, its XSAVE and XRSTOR with the first, though
// it may lie in a component that is not asked for; ours with the header. Nothing has changed on either side that faults.
static bool faults_in_image(const Program& program, const Result& host, const Result& soft) {
    const std::optional<u64> at = image_of(program);
    if (!at) return false;
    const auto refuses = [](const Result& side) {
        return side.ending == x86::vector_gp || side.ending == x86::vector_ss;
    };
    const auto faults = [&](const Result& side, u32 from, u32 to) {
        const u32 far = u32(side.address) - u32(*at), offset = program.bits == 64 ? far : u16(far);  // may wrap
        return side.ending == x86::vector_pf && side.after.rip == program.before.rip && offset >= from && offset < to;
    };
    constexpr u32 header_at = sizeof(x86::FxState), end = header_at + 64;
    const bool by_soft = faults(soft, 0, end);
    if (soft.after.rip != program.before.rip) return faults(host, 0, header_at);
    if (soft.after.rip != host.after.rip || soft.change_hash != host.change_hash) return false;
    const bool by_host = faults(host, 0, end);
    return (by_host && (by_soft || refuses(soft))) || (by_soft && refuses(host));
}

// Which of #AC, #GP and #SS an image that is not aligned gets. Intel SDM vol. 2A, "FXSAVE": #AC varies.
static bool is_misaligned_image(const Program& program, const Result& host, const Result& soft) {
    const auto refuses = [](u32 ending) {
        return ending == x86::vector_gp || ending == x86::vector_ss || ending == x86::vector_ac;
    };
    const std::optional<u64> at = image_of(program);
    return at && *at & 63 && refuses(host.ending) && refuses(soft.ending) && host.after.rip == program.before.rip &&
           soft.after.rip == program.before.rip;
}

bool is_image_left_open(const Program& program, const Result& host, const Result& soft) {
    return takes_any_header(program) || is_misaligned_image(program, host, soft) ||
           faults_in_image(program, host, soft);
}

}  // namespace silicon::oracle
