#include "silicon/oracle/forms.h"


#include <algorithm>
#include <cstring>

#define FAMILY(name)                                                                                                   \
    namespace silicon::x86 {                                                                                           \
    extern const Op name##_ops[];                                                                                      \
    extern const unsigned name##_op_count;                                                                             \
    }
#include "ops_families.inc"
#undef FAMILY

namespace silicon::oracle {

using x86::Feature;
using x86::Op;
using x86::Row;

bool exists_in(const Row& row, unsigned bits) { return row.only_mode == 0 || (row.only_mode == 64) == (bits == 64); }

const char* name_of(ZydisMnemonic mnemonic) {
    const char* name = ZydisMnemonicGetString(mnemonic);
    return name ? name : "?";
}

namespace {

// What would leave the program, whatever the row says.
bool leaves_the_program(u32 mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_SYSCALL:
        case ZYDIS_MNEMONIC_SYSENTER:
        case ZYDIS_MNEMONIC_WRFSBASE:
        case ZYDIS_MNEMONIC_WRGSBASE: return true;
        default: return false;
    }
}

Form form_of(const Op& op) {
    Form form{.op = &op, .lock = bool(op.key >> 36 & 1), .rep = u8(op.key >> 32 & 15)};
    for (unsigned n = 0; n < 4; ++n) {
        const unsigned code = op.key >> (21 - 7 * n) & 127;
        form.operands[n] = {u8(code & 15), u8(code >> 4)};
        if (code & 15) form.operand_count = n + 1;
    }
    return form;
}

// As the decoder numbers sizes and kinds of operands (x86::operand_key); kind 0: none that a row could have.
unsigned size_code(const ZydisDecodedOperand& operand) {
    switch (operand.size) {
        case 0: return 0;
        case 8: return 1;
        case 16: return 2;
        case 32: return 3;
        case 64: return 4;
        case 128: return 5;
        case 256: return 6;
        default: return 7;
    }
}

unsigned kind_of(const ZydisDecodedOperand& operand) {
    if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) return 3;
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) return 2;
    if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) return 0;
    switch (ZydisRegisterGetClass(operand.reg.value)) {
        case ZYDIS_REGCLASS_SEGMENT: return 4;
        case ZYDIS_REGCLASS_CONTROL: return 5;
        case ZYDIS_REGCLASS_DEBUG: return 6;
        case ZYDIS_REGCLASS_XMM: return 8;
        case ZYDIS_REGCLASS_MMX: return 9;
        case ZYDIS_REGCLASS_X87: return 10;
        case ZYDIS_REGCLASS_GPR8:
        case ZYDIS_REGCLASS_GPR16:
        case ZYDIS_REGCLASS_GPR32:
        case ZYDIS_REGCLASS_GPR64: return 1;
        default: return 0;
    }
}

bool fits(const Form& form, const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands) {
    if (form.operand_count != insn.operand_count_visible) return false;
    for (unsigned n = 0; n < form.operand_count; ++n) {
        const auto& want = form.operands[n];
        if (kind_of(operands[n]) != want.kind) return false;
        if (want.kind <= 2 && size_code(operands[n]) != want.size) return false;
    }
    return true;
}

}  // namespace

Forms::Forms() {
#define FAMILY(name)                                                                                                   \
    for (unsigned n = 0; n < x86::name##_op_count; ++n) add(x86::name##_ops[n]);
#include "ops_families.inc"
#undef FAMILY
}

void Forms::add(const Op& op) {
    const Row* row = op.row;
    const u32 mnemonic = u32(op.key >> 48);
    if (!row->oracle || !x86::host_has(row->feature) || leaves_the_program(mnemonic)) return;
    auto [place, is_new] = places_[row].try_emplace(mnemonic, unsigned(units_.size()));
    if (is_new) {
        units_.push_back({row, static_cast<ZydisMnemonic>(mnemonic), {}});
        by_mnemonic_[mnemonic].push_back(place->second);
    }
    units_[place->second].forms.push_back(form_of(op));
}

std::vector<unsigned> Forms::choose(const std::string& family, const std::string& mnemonic, unsigned bits) const {
    std::vector<unsigned> chosen;
    for (unsigned n = 0; n < units_.size(); ++n) {
        const Unit& unit = units_[n];
        if (!exists_in(*unit.row, bits)) continue;
        if (!family.empty() && family != unit.row->family) continue;
        if (!mnemonic.empty() && strcasecmp(mnemonic.c_str(), name_of(unit.mnemonic)) != 0) continue;
        chosen.push_back(n);
    }
    return chosen;
}

int Forms::unit_of(const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands) const {
    const auto found = by_mnemonic_.find(insn.mnemonic);
    if (found == by_mnemonic_.end() || insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) return -1;
    for (const unsigned n : found->second)
        for (const Form& form : units_[n].forms)
            if (fits(form, insn, operands)) return int(n);
    return -1;
}

namespace {

struct Count {
    unsigned count, width;
};

Count count_of(const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands, u64 rcx) {
    const unsigned width = operands[0].size;
    const ZydisDecodedOperand& last = operands[insn.operand_count_visible - 1];
    const u64 given = last.type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? last.imm.value.u : rcx;
    return {unsigned(given & (width == 64 ? 63 : 31)), width};
}

}  // namespace

// Intel SDM vol. 2, "Flags Affected" of each shift and rotate.
u64 undefined_flags(const Unit& unit, const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands,
                    u64 rcx) {
    using namespace x86;
    if (!unit.row->counted) return unit.row->flags_undefined;
    const auto [count, width] = count_of(insn, operands, rcx);
    if (count == 0) return 0;
    const u64 overflow = count == 1 ? 0 : flag::of;
    switch (unit.mnemonic) {
        case ZYDIS_MNEMONIC_SHL:
        case ZYDIS_MNEMONIC_SHR: return overflow | flag::af | (count >= width ? flag::cf : 0);
        case ZYDIS_MNEMONIC_SAR: return overflow | flag::af;
        case ZYDIS_MNEMONIC_SHLD:
        case ZYDIS_MNEMONIC_SHRD: return count > width ? flag::arithmetic : overflow | flag::af;
        default: return overflow;
    }
}

bool undefined_result(const Unit& unit, const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands,
                      u64 rcx) {
    if (unit.mnemonic != ZYDIS_MNEMONIC_SHLD && unit.mnemonic != ZYDIS_MNEMONIC_SHRD) return false;
    const auto [count, width] = count_of(insn, operands, rcx);
    return count > width;
}

}  // namespace silicon::oracle
