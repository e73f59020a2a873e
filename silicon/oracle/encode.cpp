#include "silicon/oracle/encode.h"

#include <cstring>

namespace silicon::oracle {

bool is_relative_branch(ZydisMnemonic mnemonic) {
    const char* name = name_of(mnemonic);
    return name[0] == 'j' || std::strncmp(name, "loop", 4) == 0 || std::strcmp(name, "call") == 0;
}

u64 random_immediate(Rng& rng) {
    static constexpr u64 edges[] = {
        0, 1, 2, ~u64{0}, 0x7f, 0x80, ~u64{0x7f}, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff'ffff, 0xffff'ffff'8000'0000};
    switch (rng.below(5)) {
        case 0: return rng.pick(edges);
        case 1: return rng.below(64);
        case 2: return u64(i64(i8(rng.next())));
        case 3: return u64(i64(i32(rng.next())));
        default: return rng.next();
    }
}

namespace {

// General registers by width: Zydis numbers each width's in x86 order, AH to BH behind BL.
ZydisRegister general(unsigned number, unsigned size) {
    constexpr ZydisRegister first[] = {ZYDIS_REGISTER_NONE, ZYDIS_REGISTER_AL, ZYDIS_REGISTER_AX, ZYDIS_REGISTER_EAX,
                                       ZYDIS_REGISTER_RAX};
    if (size == 1 && number >= 4) number += 4;  // SPL and on: AH to BH stand between
    return static_cast<ZydisRegister>(first[size] + number);
}

ZydisRegister pick_register(Rng& rng, unsigned size, unsigned bits, u32 avoid) {
    const unsigned count = bits == 64 ? 16 : 8;
    if (size == 1 && (bits != 64 || rng.chance(25))) {
        const unsigned n = unsigned(rng.below(8));  // the legacy eight: AL to BL, AH to BH
        return static_cast<ZydisRegister>(ZYDIS_REGISTER_AL + n);
    }
    unsigned number = unsigned(rng.below(count));
    for (unsigned tries = 0; tries < 6 && (avoid >> number & 1); ++tries) number = unsigned(rng.below(count));
    return general(number, size);
}

i64 pick_displacement(Rng& rng) {
    switch (rng.below(6)) {
        case 0:
        case 1: return 0;
        case 2:
        case 3: return i8(rng.next());
        case 4: return i64(rng.below(4096)) - 2048;
        default: return i32(rng.next());
    }
}

void pick_memory(Rng& rng, ZydisEncoderOperand& operand, unsigned bits, unsigned bytes) {
    auto& mem = operand.mem;
    mem.size = ZyanU16(bytes);
    mem.displacement = pick_displacement(rng);
    const unsigned kind = unsigned(rng.below(20));
    if (bits == 64 && kind == 0) {
        mem.base = ZYDIS_REGISTER_RIP;
        mem.displacement = i64(data_at - code_at) + i64(rng.below(data_bytes)) - 0x8000;
        return;
    }
    if (kind == 1) {  // no base: an absolute address
        mem.displacement = i64(data_at - data_base(bits) + rng.below(3 * page_bytes));
        return;
    }
    const bool narrow = kind == 2 || kind == 3;  // the other address size
    if (bits != 64 && narrow != (bits == 16)) {
        constexpr ZydisRegister bases[] = {ZYDIS_REGISTER_BX, ZYDIS_REGISTER_BP, ZYDIS_REGISTER_SI, ZYDIS_REGISTER_DI};
        mem.base = rng.pick(bases);
        mem.displacement = i16(mem.displacement);
        return;
    }
    const unsigned width = bits == 64 && !narrow ? 4 : 3, count = bits == 64 ? 16 : 8;
    if (kind != 4) mem.base = general(unsigned(rng.below(count)), width);
    if (rng.chance(40) || kind == 4) {
        unsigned index = unsigned(rng.below(count));
        if (index == x86::rsp) index = x86::rbp;
        mem.index = general(index, width);
        mem.scale = ZyanU8(1u << rng.below(4));
    }
}

// Operands that have no size code: far pointers, table registers, long doubles, cache lines, states, none.
constexpr u16 odd_sizes[] = {6, 10, 14, 28, 64, 94, 108, 512, 576};

unsigned bytes_of(unsigned size) { return size >= 1 && size <= 6 ? 1u << (size - 1) : 0; }

ZydisRegister numbered(ZydisRegister first, u64 number) { return static_cast<ZydisRegister>(first + number); }

void pick_operand(Rng& rng, const OperandForm& want, unsigned bits, u32 avoid, unsigned odd_bytes,
                  ZydisEncoderOperand& operand) {
    switch (want.kind) {
        case 1:
            operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
            operand.reg.value = pick_register(rng, want.size, bits, avoid);
            break;
        case 2:
            operand.type = ZYDIS_OPERAND_TYPE_MEMORY;
            pick_memory(rng, operand, bits, want.size == 7 ? odd_bytes : bytes_of(want.size));
            break;
        case 8:  // XMM0 often: some take no other
            operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
            operand.reg.value = numbered(ZYDIS_REGISTER_XMM0, rng.chance(15) ? 0 : rng.below(bits == 64 ? 16 : 8));
            break;
        case 9:
            operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
            operand.reg.value = numbered(ZYDIS_REGISTER_MM0, rng.below(8));
            break;
        case 10:  // of two, one is ST0
            operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
            operand.reg.value = numbered(ZYDIS_REGISTER_ST0, rng.chance(50) ? 0 : rng.below(8));
            break;
        case 3:
            operand.type = ZYDIS_OPERAND_TYPE_IMMEDIATE;
            operand.imm.u = random_immediate(rng);
            break;
        case 4:
            operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
            operand.reg.value = numbered(ZYDIS_REGISTER_ES, rng.below(6));
            break;
        case 5:
            operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
            operand.reg.value = numbered(ZYDIS_REGISTER_CR0, rng.below(9));
            break;
        case 6:
            operand.type = ZYDIS_OPERAND_TYPE_REGISTER;
            operand.reg.value = numbered(ZYDIS_REGISTER_DR0, rng.below(8));
            break;
        default: break;
    }
}

// Cuts an immediate to what a first operand of this size can have, as the encoder wants it.
void fit_immediates(ZydisEncoderRequest& request, const Form& form, unsigned attempt) {
    const unsigned size = form.operands[0].kind <= 2 ? form.operands[0].size : 0;
    for (unsigned n = 0; n < form.operand_count; ++n) {
        if (form.operands[n].kind != 3) continue;
        i64& value = request.operands[n].imm.s;
        if (attempt % 3 == 2) value = i8(value);
        else if (attempt % 3 == 1 && size != 2) value = i32(value);
        else if (size == 1) value = i8(value);
        else if (size == 2) value = i16(value);
        else if (size == 3) value = i32(value);
        if (attempt >= 6) value = u8(value);
    }
}

void ask_for_branch(ZydisEncoderRequest& request, u8 branch_bytes) {
    request.branch_type = ZYDIS_BRANCH_TYPE_NONE;
    request.branch_width = branch_bytes == 4   ? ZYDIS_BRANCH_WIDTH_32
                           : branch_bytes == 2 ? ZYDIS_BRANCH_WIDTH_16
                                               : ZYDIS_BRANCH_WIDTH_8;
    request.operands[0].imm.s = 0;
}

ZydisMachineMode machine_mode(unsigned bits) {
    return bits == 64   ? ZYDIS_MACHINE_MODE_LONG_64
           : bits == 32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
                        : ZYDIS_MACHINE_MODE_LONG_COMPAT_16;
}

}  // namespace

bool encode_form(Rng& rng, const Unit& unit, Form& form, unsigned bits, u32 avoid, Step& step) {
    const bool relative = is_relative_branch(unit.mnemonic) && form.operand_count == 1 && form.operands[0].kind == 3;
    const bool call = unit.mnemonic == ZYDIS_MNEMONIC_CALL;
    const u8 branch_bytes = !relative ? 0 : !call ? 1 : bits == 16 ? 2 : 4;
    for (unsigned attempt = 0; attempt < 12; ++attempt) {
        ZydisEncoderRequest request{};
        request.machine_mode = machine_mode(bits);
        request.mnemonic = unit.mnemonic;
        request.operand_count = ZyanU8(form.operand_count);
        if (form.lock) request.prefixes |= ZYDIS_ATTRIB_HAS_LOCK;
        const u16 odd_bytes = form.odd_bytes && rng.chance(60) ? form.odd_bytes : rng.pick(odd_sizes);
        for (unsigned n = 0; n < form.operand_count; ++n)
            pick_operand(rng, form.operands[n], bits, n == 0 ? avoid : 0, odd_bytes, request.operands[n]);
        if (unit.row->counted && form.operands[form.operand_count - 1].kind == 1)
            request.operands[form.operand_count - 1].reg.value = ZYDIS_REGISTER_CL;
        fit_immediates(request, form, attempt);
        if (relative) ask_for_branch(request, branch_bytes);
        ZyanUSize length = sizeof step.bytes;
        if (!ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&request, step.bytes, &length))) continue;
        form.encodes[Form::place(bits)] = true;
        form.odd_bytes = odd_bytes;
        step.length = u8(length);
        step.branch_bytes = branch_bytes;
        if (form.rep && length < 15) {
            std::memmove(step.bytes + 1, step.bytes, length);
            step.bytes[0] = form.rep == 1 ? 0xf3 : 0xf2;
            ++step.length;
        }
        return true;
    }
    u16& misses = form.misses[Form::place(bits)];
    if (misses < 0xffff) ++misses;
    return false;
}

}  // namespace silicon::oracle
