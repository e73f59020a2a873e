#include "silicon/oracle/unjudged.h"

#include <algorithm>

#include "silicon/oracle/images.h"
#include "silicon/x86_64/event.h"

namespace silicon::oracle {

namespace {

// The instruction at which a program stopped; its registers are those before it.
struct Stopped {
    const Program& program;
    const Result &host, &soft;
    Decoded d;

    u64 gpr(ZydisRegister reg) const {
        if (reg == ZYDIS_REGISTER_NONE) return 0;
        if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) return soft.after.rip + d.insn.length;
        const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
        return soft.after.gpr[ZydisRegisterGetId(whole)];
    }
    // The offset in the segment.
    u64 address(const ZydisDecodedOperand& operand) const {
        const auto& mem = operand.mem;
        const u64 at = gpr(mem.base) + gpr(mem.index) * mem.scale + u64(mem.disp.value);
        return d.insn.address_width == 64 ? at : d.insn.address_width == 32 ? u32(at) : u16(at);
    }
    template <class Test>
    bool any_memory(Test test) const {
        for (unsigned n = 0; n < d.insn.operand_count; ++n)
            if (d.operands[n].type == ZYDIS_OPERAND_TYPE_MEMORY && test(d.operands[n])) return true;
        return false;
    }
};

bool is_limit(u32 ending) { return ending == x86::vector_gp || ending == x86::vector_ss; }

// CALL to an address that is not canonical with a stack that faults: the SDM checks the target first, AMD pushes first.
// POPA that faults half-way: AMD has already loaded the registers before.
// MASKMOVDQU and MASKMOVQ: which bytes are looked at, and in which order, is the processor's affair; AMD has the MMX unit
// entered already when MASKMOVQ faults.
bool vendors_differ(const Stopped& s) {
    if (s.host.after.rip != s.soft.after.rip) return false;
    switch (s.d.insn.mnemonic) {
        case ZYDIS_MNEMONIC_CALL:
            return s.soft.ending == x86::vector_gp &&
                   (s.host.ending == x86::vector_pf || s.host.ending == x86::vector_ss ||
                    s.host.ending == x86::vector_ac);
        case ZYDIS_MNEMONIC_POPA:
        case ZYDIS_MNEMONIC_POPAD:
            return s.soft.ending < ended && s.soft.ending == s.host.ending && s.soft.address == s.host.address;
        case ZYDIS_MNEMONIC_MASKMOVDQU:
        case ZYDIS_MNEMONIC_MASKMOVQ: return s.soft.ending < ended && s.host.ending < ended;
        default: return false;
    }
}

// AMD's MXCSR has a bit 17, by which operands need not be aligned; on Intel's it is reserved: #GP, where AMD's goes on.
bool loads_bit_of_amd(const Stopped& s) {
    const bool host_went_on = s.host.ending != x86::vector_gp || s.host.after.rip != s.soft.after.rip;
    return s.soft.ending == x86::vector_gp && host_went_on &&
           (s.d.insn.mnemonic == ZYDIS_MNEMONIC_LDMXCSR || is_image_instruction(s.d.insn.mnemonic));
}

// SHA instructions with an operand that is not aligned: #GP (SDM vol. 2A, "Exceptions Type 4"), which AMD does not raise.
bool misaligned_sha(const Stopped& s) {
    if (s.soft.ending != x86::vector_gp || s.d.insn.meta.isa_set != ZYDIS_ISA_SET_SHA) return false;
    return s.any_memory([&](const ZydisDecodedOperand& operand) { return s.address(operand) & 15; });
}

// An access over the end of a 4 GiB segment: the SDM leaves open whether it faults (vol. 3, "Limit Checking").
bool over_the_end(const Stopped& s) {
    if (s.program.bits != 32 || !(is_limit(s.host.ending) || is_limit(s.soft.ending))) return false;
    return s.any_memory([&](const ZydisDecodedOperand& operand) {
        const u32 reach = std::max(64u, operand.size / 8u);
        return u32(s.address(operand) + reach) < 2 * reach;
    });
}

// An operand on the stack that is neither aligned nor inside its segment: #GP or #SS, of which the SDM does not say
// which comes first (vol. 3, "Priority Among Simultaneous Exceptions and Interrupts" has both in one class).
bool misaligned_and_outside(const Stopped& s) {
    if (!is_limit(s.host.ending) || !is_limit(s.soft.ending)) return false;
    return s.any_memory([&](const ZydisDecodedOperand& operand) {
        return operand.mem.segment == ZYDIS_REGISTER_SS && operand.size >= 128 &&
               s.address(operand) & (operand.size / 8 > sizeof(x86::FxState) ? 63 : 15);
    });
}

// An x87 operand wider than 8 bytes over the end of a 64 KiB segment: AMD looks at it by parts, of which some wrap, and has
// loaded a part of the state when FRSTOR faults.
bool wide_x87_over_the_end(const Stopped& s) {
    if (s.program.bits != 16 || s.d.insn.meta.isa_set != ZYDIS_ISA_SET_X87) return false;
    return s.any_memory([&](const ZydisDecodedOperand& operand) {
        return operand.size > 64 && u16(s.address(operand)) + operand.size / 8 > 0x10000;
    });
}

}  // namespace

bool went_astray(const Program& program, const Result& soft) {
    const bool in_code = soft.after.rip >= code_at && soft.after.rip < code_at + code_bytes;
    return soft.ending < ended && in_code && program.step_at(soft.after.rip) < 0;
}

bool is_left_open(const Program& program, const Result& host, const Result& soft) {
    const int n = program.step_at(soft.after.rip);
    if (n < 0 || size_t(n) >= program.steps.size()) return false;
    const Step& step = program.steps[size_t(n)];
    const Stopped s{program, host, soft, decode(step.bytes, step.length, program.bits)};
    return s.d.ok() && (vendors_differ(s) || loads_bit_of_amd(s) || over_the_end(s) || misaligned_and_outside(s) ||
                        misaligned_sha(s) || wide_x87_over_the_end(s));
}

}  // namespace silicon::oracle
