// Zydis for Python: the decoder of the CPU is the disassembler of the tools.
#include <Zydis/Zydis.h>
#include <nanobind/stl/string.h>

#include "bindings/common.h"
#include "silicon/x86_64/decode.h"
#include "silicon/x86_64/ops/table.h"

namespace binding {

static nb::list disassemble(const nb::bytes& code, silicon::u64 address, unsigned bits) {
    if (bits != 16 && bits != 32 && bits != 64) throw nb::value_error("bits must be 16, 32 or 64");
    ZydisDecoder decoder;
    const bool is64 = bits == 64, is32 = bits == 32;
    ZydisDecoderInit(&decoder, is64 ? ZYDIS_MACHINE_MODE_LONG_64 : is32 ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_REAL_16,
                     is64 ? ZYDIS_STACK_WIDTH_64 : is32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_16);
    ZydisFormatter formatter;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    nb::list lines;
    const auto* bytes = reinterpret_cast<const silicon::u8*>(code.c_str());
    for (size_t at = 0; at < code.size();) {
        ZydisDecodedInstruction insn;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        char text[128] = "(bad)";
        size_t length = 1;
        if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes + at, code.size() - at, &insn, operands))) {
            length = insn.length;
            ZydisFormatterFormatInstruction(&formatter, &insn, operands, insn.operand_count_visible, text, sizeof text, address + at, nullptr);
        }
        lines.append(nb::make_tuple(address + at, length, std::string(text)));
        at += length;
    }
    return lines;
}

// (mnemonic, operands of the row) each.
static nb::list take_decoded_forms() {
    nb::list forms;
    for (const silicon::x86::DecodedForm& form : silicon::x86::take_decoded_forms())
        forms.append(nb::make_tuple(form.mnemonic, form.row->operands));
    return forms;
}

void bind_disassemble(nb::module_& module) {
    module.def("take_decoded_forms", &take_decoded_forms);
    module.def("disassemble", &disassemble, nb::arg("code"), nb::arg("address"), nb::arg("bits"));
}

}  // namespace binding
