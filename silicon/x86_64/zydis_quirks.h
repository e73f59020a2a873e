// Where Zydis 4.0 decodes otherwise than processors do: for whoever looks at its operands.
#pragma once

#include <Zydis/Zydis.h>

namespace silicon::x86 {

// ModRM.mod 0 with SIB.base 5 has no base but a displacement, REX.B or not; Zydis forgets that for [r13d].
inline void forget_wrong_base(const ZydisDecodedInstruction& insn, ZydisDecodedOperand& operand) {
    const bool has_no_base = insn.attributes & ZYDIS_ATTRIB_HAS_SIB && insn.raw.modrm.mod == 0 && insn.raw.sib.base == 5;
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.base != ZYDIS_REGISTER_R13D || !has_no_base) return;
    operand.mem.base = ZYDIS_REGISTER_NONE;
    operand.mem.disp.value = insn.raw.disp.value;
}

}  // namespace silicon::x86
