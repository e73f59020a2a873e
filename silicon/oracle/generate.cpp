#include "silicon/oracle/generate.h"

#include <algorithm>
#include <cstring>

#include "silicon/oracle/draft.h"
#include "silicon/oracle/encode.h"
#include "silicon/oracle/images.h"
#include "silicon/oracle/vectors.h"

namespace silicon::oracle {

using x86::rbp;
using x86::rcx;
using x86::rdi;
using x86::rsi;
using x86::rsp;

Generator::Generator(Forms& forms, const Wishes& wishes, u64 seed) : forms_(forms), wishes_(wishes), rng_(seed) {
    for (const unsigned bits : {64u, 32u, 16u}) {
        const bool can = bits == 64 || (bits == 32 ? wishes.has_32_bits : wishes.has_16_bits);
        if (can && (wishes.bits == 0 || wishes.bits == bits))
            chosen_[Form::place(bits)] = forms.choose(wishes.family, wishes.mnemonic, bits);
    }
    is_chosen_.resize(forms.units().size());
    for (const auto& list : chosen_)
        for (const unsigned n : list) is_chosen_[n] = true;
}

u64 Generator::interesting() {
    static constexpr u64 edges[] = {
        0,
        1,
        ~u64{0},
        2,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x7fff'ffff,
        0x8000'0000,
        0xffff'ffff,
        0x7fff'ffff'ffff'ffff,
        0x8000'0000'0000'0000,
        0xffff'ffff'0000'0000,
        0x5555'5555'5555'5555,
        0xaaaa'aaaa'aaaa'aaaa,
    };
    switch (rng_.below(8)) {
        case 0:
        case 1: return rng_.pick(edges);
        case 2: return rng_.below(80);
        case 3: return rng_.pick(edges) + rng_.below(5) - 2;
        case 4: return u32(rng_.next());
        case 5: return rng_.next() & rng_.next() & rng_.next();
        default: return rng_.next();
    }
}

void Generator::fill_registers(Draft& draft) {
    Registers& r = draft.program.before;
    r.fx = random_fx(rng_);
    for (u64& value : r.gpr) value = interesting();
    if (rng_.chance(60)) r.gpr[rcx] = rng_.below(70);
    for (const unsigned pointer : {rsi, rdi, rsp}) {
        r.gpr[pointer] = target(8);
        draft.pinned |= 1u << pointer;
    }
    if (rng_.chance(70)) {
        r.gpr[rbp] = target(8);
        draft.pinned |= 1u << rbp;
    }
    static constexpr u64 flag_sets[] = {0, x86::flag::arithmetic};
    u64 flags = rng_.chance(66) ? rng_.pick(flag_sets) : rng_.next() & x86::flag::arithmetic;
    if (rng_.chance(30)) flags |= x86::flag::df;
    if (rng_.chance(8)) flags |= x86::flag::ac;
    r.rflags = flags | x86::flag::always | x86::flag::intf;
    if (draft.program.bits == 64) return;
    for (u64& value : r.gpr) value = u32(value);
    if (draft.program.bits == 32) return;
    for (const unsigned pointer :
         {rsi, rdi, rsp, rbp})  // 16 bits from the segment's base; what is above should not matter
        if (draft.pinned >> pointer & 1) r.gpr[pointer] = u16(r.gpr[pointer] - data_at) | (rng_.next() & 0xffff'0000);
}

// INT of these does something under Linux; all others are #GP of the gate, as with the empty table of the soft side.
static bool is_open_gate(u64 vector) { return vector == 3 || vector == 4 || vector == 0x80; }

// What Intel's and AMD's processors do not do alike. Near branches with an operand-size prefix are another such thing.
static bool is_vendors_own(const Decoded& d) {
    const bool prefetchw_of_register =
        d.insn.opcode_map == ZYDIS_OPCODE_MAP_0F && d.insn.opcode == 0x0d && d.insn.raw.modrm.mod == 3;
    return prefetchw_of_register;
}

// Of `map` the last ten are VEX, in the rows that BMI uses.
u8* Generator::scribble_opcode(u8* to, unsigned map) {
    if (map >= 90) {
        static constexpr u8 opcodes[] = {0xf0, 0xf2, 0xf3, 0xf5, 0xf6, 0xf7};
        *to++ = 0xc4;
        *to++ = u8((rng_.next() & 0xe0) | (rng_.chance(85) ? 2 : 3));
        *to++ = u8(rng_.next() & ~u64{rng_.chance(90) ? 4u : 0u});
        *to++ = rng_.pick(opcodes);
        return to;
    }
    if (map >= 85) {  // x87
        *to++ = u8(0xd8 | rng_.below(8));
        return to;
    }
    if (map >= 45) *to++ = 0x0f;
    const bool in_38 = map >= 68 && map < 80, in_3a = map >= 80;
    if (in_38 || in_3a) *to++ = in_38 ? 0x38 : 0x3a;
    *to++ = in_38 && rng_.chance(30) ? u8(0xf0 | rng_.below(2)) : u8(rng_.next());
    return to;
}

// Random bytes in the shape of an instruction: prefixes, opcode, ModRM. Finds encodings that an encoder does not
// choose.
bool Generator::scribble(Step& step, unsigned bits) {
    u8* to = step.bytes;
    static constexpr u8 segments[] = {0x26, 0x2e, 0x36, 0x3e};
    if (rng_.below(500) == 0) {  // too long: #GP on both sides, whatever follows
        for (u8& byte : step.bytes) byte = rng_.chance(50) ? 0x66 : rng_.pick(segments);
        step.length = sizeof step.bytes;
        return true;
    }
    const u64 map = rng_.below(100);
    const bool simd = map >= 45 && map < 85;  // where a prefix is part of the opcode
    if (rng_.chance(simd ? 30 : 15)) *to++ = 0x66;
    if (rng_.chance(6)) *to++ = 0x67;
    if (rng_.chance(simd ? 25 : 8)) *to++ = rng_.chance(50) ? 0xf3 : 0xf2;
    if (rng_.chance(4)) *to++ = 0xf0;
    if (rng_.chance(5)) *to++ = rng_.pick(segments);
    if (wishes_.fs_base_is_zero && bits == 64 && rng_.chance(4)) *to++ = rng_.chance(50) ? 0x64 : 0x65;
    if (map < 90 && bits == 64 && rng_.chance(45)) *to++ = u8(0x40 | rng_.below(16));
    to = scribble_opcode(to, unsigned(map));
    u8 rest[8];
    const u64 random = rng_.next();
    std::memcpy(rest, &random, 8);
    while (to < step.bytes + sizeof step.bytes) *to = rest[(to - step.bytes) & 7], ++to;
    const Decoded d = decode(step.bytes, sizeof step.bytes, bits);
    if (d.status == ZYDIS_STATUS_ILLEGAL_LOCK) return is_refused_lock(step, bits);
    if (!d.ok()) return false;
    step.length = d.insn.length;
    if (d.insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE) return false;
    step.unit = forms_.unit_of(d.insn, d.operands);
    return step.unit >= 0 && is_chosen_[unsigned(step.unit)];
}

// LOCK where it is not allowed: #UD on both sides, whatever follows. Only before what we know: some of AMD's mean more.
bool Generator::is_refused_lock(Step& step, unsigned bits) {
    Step plain = step;
    auto* lock = static_cast<u8*>(std::memchr(plain.bytes, 0xf0, 4));
    if (!lock) return false;
    *lock = 0x3e;
    const auto* escape = static_cast<const u8*>(std::memchr(plain.bytes, 0x0f, 6));
    if (escape && (escape[1] & 0xfd) == 0x20) return false;  // AMD: LOCK MOV CR0 is MOV CR8
    const Decoded d = decode(plain.bytes, sizeof plain.bytes, bits);
    step.length = sizeof step.bytes;
    return d.ok() && forms_.unit_of(d.insn, d.operands) >= 0;
}

bool Generator::encode(const Draft& draft, Unit& unit, Step& step) {
    const u32 avoid = draft.wanted > 1 && rng_.chance(90) ? draft.pinned : 0;
    for (unsigned attempt = 0; attempt < 16; ++attempt) {  // not every form of a row has an encoding here
        Form& form = unit.forms[rng_.below(unit.forms.size())];
        if (form.is_hopeless(draft.program.bits)) continue;
        if (encode_form(rng_, unit, form, draft.program.bits, avoid, step)) return true;
    }
    return false;
}

// A segment override that changes nothing (base 0), or an address-size prefix, before an instruction with memory.
void Generator::maybe_prefix(Step& step, unsigned bits) {
    if (step.length >= 15 || !rng_.chance(8)) return;
    static constexpr u8 everywhere[] = {0x26, 0x2e, 0x36, 0x3e}, with_base[] = {0x64, 0x65};
    const bool based = wishes_.fs_base_is_zero && bits == 64 && rng_.chance(40);
    std::memmove(step.bytes + 1, step.bytes, step.length);
    step.bytes[0] = based ? rng_.pick(with_base) : rng_.pick(everywhere);
    ++step.length;
}

// Only what keeps the judge exact: nothing may read a flag that was left undefined before.
bool Generator::accept(Draft& draft, Step step) {
    Program& p = draft.program;
    if (p.code_length() + step.length > most_code) return false;
    const Decoded d = decode(step.bytes, step.length, p.bits);
    if (step.unit >= 0) {
        if (!d.ok() || d.insn.length != step.length) return false;
        const Unit& unit = forms_.units()[unsigned(step.unit)];
        if (forms_.unit_of(d.insn, d.operands) != step.unit || !exists_in(*unit.row, p.bits) || is_vendors_own(d))
            return false;
        const bool based = d.insn.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS);
        if (based && (p.bits != 64 || !wishes_.fs_base_is_zero)) return false;
        if (d.insn.mnemonic == ZYDIS_MNEMONIC_INT && is_open_gate(d.operands[0].imm.value.u)) return false;
        const bool has_image = is_image_instruction(d.insn.mnemonic);
        if (has_image && !p.steps.empty()) return false;
        aim(draft, d);
        if (is_misaligned_sha(draft, d) && rng_.chance(90)) return false;
        const u64 asked = p.before.gpr[x86::rdx] << 32 | u32(p.before.gpr[x86::rax]);
        if (is_extended_instruction(d.insn.mnemonic) && asked & foreign_components()) return false;
        const u64 count = p.before.gpr[rcx];
        if (undefined_result(unit, d.insn, d.operands, count)) return false;
        if (draft.wanted == 1) {
            step.undefined = undefined_flags(unit, d.insn, d.operands, count);
        } else {  // RCX may have changed since: the most that the row may leave undefined
            if (unit.row->counted && unit.forms[0].operand_count == 3 && d.operands[0].size == 16) return false;
            step.undefined = unit.row->flags_undefined;
        }
        draft.is_over = has_image && !restores_image(d.insn.mnemonic);
        step.branches = d.insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
        step.reads = unit.row->flags_read;
        if (!unit.row->counted && !unit.row->takes_rep)
            step.defines = unit.row->flags_written & ~unit.row->flags_undefined;
    }
    p.steps.push_back(step);
    if (p.work_out_ignored()) return true;
    p.steps.pop_back();
    return false;
}

// Mostly the one of several that was judged least: those that are hard to make, or to make succeed, keep up.
unsigned Generator::pick_unit(const std::vector<unsigned>& chosen) {
    unsigned best = chosen[rng_.below(chosen.size())];
    for (unsigned n = rng_.chance(60) ? 3 : 0; n > 0; --n) {
        const unsigned other = chosen[rng_.below(chosen.size())];
        if (forms_.units()[other].judged < forms_.units()[best].judged) best = other;
    }
    return best;
}

bool Generator::add_step(Draft& draft) {
    const unsigned bits = draft.program.bits;
    const auto& chosen = chosen_[Form::place(bits)];
    for (unsigned attempt = 0; attempt < 20; ++attempt) {
        Step step;
        if (draft.wanted == 1 && rng_.chance(30)) {
            if (scribble(step, bits) && accept(draft, step)) return true;
            continue;
        }
        step.unit = int(pick_unit(chosen));
        if (!encode(draft, forms_.units()[unsigned(step.unit)], step)) continue;
        maybe_prefix(step, bits);
        if (step.branch_bytes) step.skip = u8(rng_.below(4));
        if (accept(draft, step)) return true;
    }
    return false;
}

unsigned Generator::pick_bits() {
    for (;;) {
        static constexpr unsigned often[] = {64, 64, 64, 32, 16};
        const unsigned bits = rng_.pick(often);
        if (!chosen_[Form::place(bits)].empty()) return bits;
    }
}

Program Generator::make(unsigned slot, unsigned bits, u64 pattern_seed) {
    Draft draft;
    draft.slot = slot;
    Program& p = draft.program;
    p.bits = bits;
    p.pattern_seed = pattern_seed;
    draft.wanted = rng_.chance(55) ? 1 : 2 + unsigned(rng_.below(6));
    p.before.rip = slot_address(slot);
    fill_registers(draft);
    while (p.steps.size() < draft.wanted && !draft.is_over && add_step(draft)) {
    }
    p.work_out_ignored();
    fill_patches(draft);
    if (slot == batch_size - 1 && rng_.chance(50) && !p.has_branch()) {
        p.at_edge = true;
        const Decoded last = decode(p.steps.back().bytes, p.steps.back().length, bits);
        const bool whole =
            !last.ok() || last.insn.mnemonic == ZYDIS_MNEMONIC_UD0 || last.insn.mnemonic == ZYDIS_MNEMONIC_UD1;
        const u64 cut = whole ? 0 : rng_.below(p.steps.back().length);  // of UD0 nobody knows the length
        p.before.rip = code_at + code_bytes - p.code_length() + cut;
    }
    return draft.program;
}

}  // namespace silicon::oracle
