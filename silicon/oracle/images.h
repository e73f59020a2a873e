// Images of x87 and SSE state in memory: FXSAVE, the XSAVE family, and where processors differ in them.
#pragma once

#include <optional>

#include "silicon/oracle/program.h"

namespace silicon::oracle {

bool is_image_instruction(ZydisMnemonic mnemonic);     // any of them
bool is_extended_instruction(ZydisMnemonic mnemonic);  // those whose components are asked for in EDX:EAX
bool restores_extended(ZydisMnemonic mnemonic);
bool restores_image(ZydisMnemonic mnemonic);  // these or FXRSTOR; the others save

// State components that this processor's system has on (XCR0), and those of them that the software CPU has not.
u64 host_components();
u64 foreign_components();

// The linear address of an operand before the program runs.
u64 operand_address(const Program& program, const Decoded& d, const ZydisDecodedOperand& operand, u64 next_rip);

// Where the first instruction of a program has its image, if it is one of these. They come nowhere else: only of the
// first one is it known which components it asks for.
std::optional<u64> image_of(const Program& program);

// A difference that the manuals leave to the processor.
bool is_image_left_open(const Program& program, const Result& host, const Result& soft);

// Words of an image in which processors differ get what was there before, on both sides: they are not compared.
template <class PageOf>
void forget_open_fields(u64 image, const Pattern& pattern, bool keeps_pointers, PageOf page) {
    const auto forget = [&](unsigned from, unsigned to) {
        for (u64 at = image + from - data_at; at < image + to - data_at; ++at)
            if (at < data_bytes && is_writable_page(at / page_bytes))
                page(at / page_bytes)[at % page_bytes] = pattern[at];
    };
    forget(28, 32);                      // MXCSR_MASK: AMD's has a bit 17
    if (!keeps_pointers) forget(6, 24);  // FOP, FIP and FDP
}

}  // namespace silicon::oracle
