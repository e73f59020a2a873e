// Where a program's operands lie and what is in them, so that it does something worth judging.
#include <algorithm>
#include <bit>

#include "silicon/oracle/draft.h"
#include "silicon/oracle/images.h"
#include "silicon/oracle/vectors.h"

namespace silicon::oracle {

using x86::rsp;

// An address that is worth an access of this size: inside a page, over an edge, read-only, absent, not canonical.
u64 Generator::target(unsigned size_bytes) {
    const u64 edge = 16 - rng_.below(32);
    const u64 kind = rng_.below(100);
    u64 at = data_at + 64 + rng_.below(3 * page_bytes - 512);
    if (kind >= 70) at = data_at + page_bytes * (1 + rng_.below(2)) + edge;
    if (kind >= 84) at = data_at + page_bytes * read_only_page + edge;
    if (kind >= 88) at = data_at + page_bytes * read_only_page + 64 + rng_.below(page_bytes - 256);
    if (kind >= 92) at = data_at + page_bytes * (absent_page + rng_.below(3)) + edge;
    if (kind >= 97) at = data_at + edge;
    if (kind == 98) at = u64{1} << 47 ^ (u64{0} - rng_.below(32));
    if (kind == 99) at = rng_.next();
    const u64 alignment = std::bit_floor(std::min(size_bytes | 1u, size_bytes > 512 ? 64u : 16u));  // 64: XSAVE
    if (rng_.chance(size_bytes >= 16 ? 85 : 50)) at &= ~(alignment - 1);
    return at;
}

// Words of memory that fit what is run: a way out for returns and indirect jumps, flags for POPF, state to load.
void Generator::fill_patches(Draft& draft) {
    using x86::flag::tf, x86::flag::vm;
    Program& p = draft.program;
    if (draft.wants_operand && rng_.chance(90)) fill_operands(draft);
    const u64 stack = p.bits == 16 ? data_at + u16(p.before.gpr[rsp]) : p.before.gpr[rsp];
    if (draft.wants_flags && rng_.chance(90))
        p.patch(stack, rng_.next() & x86::flag::all & ~(vm | (rng_.chance(80) ? tf : 0)));
    else if (draft.wants_target && rng_.chance(70)) p.patch(stack, way_out(draft.slot) - code_base(p.bits));
}

static bool loads_state(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_LDMXCSR:
        case ZYDIS_MNEMONIC_FLDCW:
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR64:
        case ZYDIS_MNEMONIC_XRSTOR:
        case ZYDIS_MNEMONIC_XRSTOR64:
        case ZYDIS_MNEMONIC_FBLD: return true;
        default: return false;
    }
}

void Generator::fill_operands(Draft& draft) {
    Program& p = draft.program;
    for (unsigned n = 0; n < p.steps.size(); ++n) {
        const Step& step = p.steps[n];
        const Decoded d = decode(step.bytes, step.length, p.bits);
        if (!d.ok() || !loads_state(d.insn.mnemonic)) continue;
        for (unsigned i = 0; i < d.insn.operand_count_visible; ++i)
            if (d.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
                fill_operand(p, d, operand_address(p, d, d.operands[i], p.step_address(n + 1)));
    }
}

// Control words that can be loaded, decimals that are such.
void Generator::fill_operand(Program& p, const Decoded& d, u64 at) {
    const x86::FxState fx = random_fx(rng_);
    switch (d.insn.mnemonic) {
        case ZYDIS_MNEMONIC_LDMXCSR: p.patch(at, fx.mxcsr); break;
        case ZYDIS_MNEMONIC_FLDCW: p.patch(at, fx.fcw); break;
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FRSTOR: {
            const unsigned field = d.insn.operand_width == 16 ? 16 : 32;  // bits of each
            p.patch(at, u64{fx.fcw} | u64{fx.fsw} << field);
            break;
        }
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR64:
            p.patch(at + 24, fx.mxcsr);
            p.patch(at, u64{fx.fcw} | u64{fx.fsw} << 16 | u64{fx.ftw} << 32 | u64{fx.fop} << 48);
            break;
        case ZYDIS_MNEMONIC_XRSTOR:
        case ZYDIS_MNEMONIC_XRSTOR64: fill_header(p, at, fx.mxcsr); break;
        default: {  // FBLD: two digits a byte, the sign in the last one
            u64 digits = 0;
            for (unsigned n = 0; n < 16; ++n) digits = digits << 4 | rng_.below(10);
            p.patch(at, digits);
            const u64 rest = rng_.below(10) | rng_.below(10) << 4 | rng_.below(2) << 15;
            p.patch(at + 8, rng_.chance(20) ? 0 : rest);
        }
    }
}

// The header of an XSAVE image, mostly a valid one, and MXCSR before it. Intel SDM vol. 1, "XSAVE Header".
void Generator::fill_header(Program& p, u64 at, u32 mxcsr) {
    const u64 nobodys = u64{1} << rng_.below(63) & ~host_components();
    const bool compact = rng_.chance(40);
    const u64 kept = rng_.below(4), in_use = compact && rng_.chance(90) ? kept & rng_.below(4) : rng_.below(4);
    const u64 header = at + sizeof(x86::FxState);
    p.patch(header, in_use | (rng_.chance(4) ? nobodys : 0));
    p.patch(header + 8, (compact ? u64{1} << 63 | kept : 0) | (rng_.chance(4) ? nobodys : 0));
    const u64 odd = rng_.chance(8) ? 2 + rng_.below(6) : 0;  // a reserved word that is not 0
    for (unsigned n = 2; n < 8; ++n) p.patch(header + 8 * n, n == odd ? u64{1} << rng_.below(64) : 0);
    if (rng_.chance(90)) p.patch(at + 24, mxcsr);
}

// The components that an instruction asks for, in EDX:EAX: none that only the host has.
void Generator::aim_components(Draft& draft) {
    Registers& r = draft.program.before;
    const u64 wanted = (rng_.chance(60) ? 3 : rng_.below(4)) | (rng_.chance(40) ? rng_.next() & ~u64{3} : 0);
    const u64 known = wanted & ~foreign_components();
    for (const unsigned reg : {x86::rax, x86::rdx}) {
        if (draft.pinned >> reg & 1) continue;
        const u64 high = draft.program.bits == 64 ? interesting() & ~u64{0xffff'ffff} : 0;
        r.gpr[reg] = high | u32(reg == x86::rax ? known : known >> 32);
        draft.pinned |= 1u << reg;
    }
}

// The first value of the address registers, so that the operand is somewhere interesting.
void Generator::aim_memory(Draft& draft, const Decoded& d, const ZydisDecodedOperand& operand) {
    Registers& r = draft.program.before;
    const auto number = [](ZydisRegister reg) {
        const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
        return whole >= ZYDIS_REGISTER_RAX && whole <= ZYDIS_REGISTER_R15 ? int(whole - ZYDIS_REGISTER_RAX) : -1;
    };
    const int base = number(operand.mem.base), index = number(operand.mem.index);
    const auto is_pinned = [&](int reg) { return draft.pinned >> reg & 1; };
    const u64 scale = operand.mem.scale ? operand.mem.scale : 1;
    const u64 mask = d.insn.address_width == 16                               ? 0xffff
                     : draft.program.bits != 64 || d.insn.address_width == 32 ? 0xffff'ffff
                                                                              : ~u64{0};
    const u64 offset = u64(operand.mem.disp.value) + data_base(draft.program.bits);
    if (index >= 0 && index != base && !is_pinned(index)) {
        if (base < 0) r.gpr[index] = (target(8) - offset) / scale;
        else if (rng_.chance(80)) r.gpr[index] = rng_.below(64) - 32;
        r.gpr[index] &= mask;
        draft.pinned |= 1u << index;
    }
    if (base < 0 || is_pinned(base)) return;
    const u64 at = target(operand.size / 8u) - offset;
    if (index == base) r.gpr[base] = at / (scale + 1);
    else r.gpr[base] = at - (index >= 0 ? r.gpr[index] * scale : 0);
    r.gpr[base] &= mask;
    if (mask == 0xffff'ffff && draft.program.bits == 64 && rng_.chance(50)) r.gpr[base] |= rng_.next() << 32;
    if (mask == 0xffff && rng_.chance(50)) r.gpr[base] |= rng_.next() & 0xffff'0000;
    draft.pinned |= 1u << base;
}

// Where AMD does not do as the SDM says there is nothing to judge.
bool Generator::is_misaligned_sha(const Draft& draft, const Decoded& d) {
    const auto& p = draft.program;
    const ZydisDecodedOperand& operand = d.operands[1];
    return d.insn.meta.isa_set == ZYDIS_ISA_SET_SHA && operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
           operand_address(p, d, operand, p.step_address(unsigned(p.steps.size())) + d.insn.length) & 15;
}

void Generator::aim(Draft& draft, const Decoded& d) {
    for (unsigned n = 0; n < d.insn.operand_count; ++n) {
        const ZydisDecodedOperand& operand = d.operands[n];
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.type == ZYDIS_MEMOP_TYPE_MEM)
            aim_memory(draft, d, operand);
    }
    const auto& first = d.operands[0];
    const auto& second = d.operands[1];
    Registers& r = draft.program.before;
    if (d.insn.meta.category == ZYDIS_CATEGORY_BITBYTE && first.type == ZYDIS_OPERAND_TYPE_MEMORY &&
        second.type == ZYDIS_OPERAND_TYPE_REGISTER && rng_.chance(80)) {  // a bit string: not too far
        const int reg =
            ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, second.reg.value) - ZYDIS_REGISTER_RAX;
        if (reg >= 0 && reg < 16 && !(draft.pinned >> reg & 1)) r.gpr[reg] = rng_.below(16384) - 8192;
    }
    const bool indirect = d.insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && d.insn.raw.imm[0].size == 0;
    if (indirect && first.type == ZYDIS_OPERAND_TYPE_REGISTER && rng_.chance(70)) {
        const int reg = ZydisRegisterGetId(first.reg.value);
        if (reg >= 0 && reg < 16 && !(draft.pinned >> reg & 1))
            r.gpr[reg] = way_out(draft.slot) - code_base(draft.program.bits);
    }
    if (d.insn.meta.category == ZYDIS_CATEGORY_RET || indirect) draft.wants_target = true;
    if (loads_state(d.insn.mnemonic)) draft.wants_operand = true;
    if (is_extended_instruction(d.insn.mnemonic)) aim_components(draft);
    const bool counts_characters =
        d.insn.mnemonic == ZYDIS_MNEMONIC_PCMPESTRI || d.insn.mnemonic == ZYDIS_MNEMONIC_PCMPESTRM;
    if (counts_characters && rng_.chance(80))
        for (const unsigned reg : {x86::rax, x86::rdx})
            if (!(draft.pinned >> reg & 1)) r.gpr[reg] = u32(rng_.below(40)) - 20;
    if (d.insn.mnemonic == ZYDIS_MNEMONIC_POPF || d.insn.mnemonic == ZYDIS_MNEMONIC_POPFD ||
        d.insn.mnemonic == ZYDIS_MNEMONIC_POPFQ)
        draft.wants_flags = true;
}

}  // namespace silicon::oracle
