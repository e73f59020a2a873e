// One instruction of a form, with random operands, by Zydis' encoder.
#pragma once

#include "silicon/oracle/forms.h"
#include "silicon/oracle/program.h"
#include "silicon/oracle/rng.h"

namespace silicon::oracle {

// `avoid`: general registers (bits by number) that should not be overwritten; a wish only. False: no such encoding.
bool encode_form(Rng& rng, const Unit& unit, Form& form, unsigned bits, u32 avoid, Step& step);
bool is_relative_branch(ZydisMnemonic mnemonic);
u64 random_immediate(Rng& rng);

}  // namespace silicon::oracle
