// Random programs from the instruction table.
#pragma once

#include <string>

#include "silicon/oracle/forms.h"
#include "silicon/oracle/program.h"
#include "silicon/oracle/rng.h"

namespace silicon::oracle {

struct Wishes {
    std::string family, mnemonic;  // empty: all
    unsigned bits = 0;             // 64, 32 or 16; 0: all
    bool has_32_bits = true, has_16_bits = true;
    bool fs_base_is_zero = true;  // FS and GS overrides may be used
};

class Generator {
  public:
    Generator(Forms& forms, const Wishes& wishes, u64 seed);
    bool can_make_any() const { return !chosen_[0].empty() || !chosen_[1].empty() || !chosen_[2].empty(); }
    // All programs of a batch have the same `bits`: one that goes astray may come to another's code.
    unsigned pick_bits();
    Program make(unsigned slot, unsigned bits, u64 pattern_seed);

  private:
    struct Draft;  // a program under construction
    bool add_step(Draft& draft);
    unsigned pick_unit(const std::vector<unsigned>& chosen);
    bool encode(const Draft& draft, Unit& unit, Step& step);
    bool scribble(Step& step, unsigned bits);
    u8* scribble_opcode(u8* to, unsigned map);
    bool is_refused_lock(Step& step, unsigned bits);
    void maybe_prefix(Step& step, unsigned bits);
    bool accept(Draft& draft, Step step);
    void aim(Draft& draft, const Decoded& d);
    void aim_memory(Draft& draft, const Decoded& d, const ZydisDecodedOperand& operand);
    u64 target(unsigned size_bytes);
    static bool is_misaligned_sha(const Draft& draft, const Decoded& d);
    u64 interesting();
    u64 immediate();
    void fill_registers(Draft& draft);
    void fill_patches(Draft& draft);
    void fill_operands(Draft& draft);
    void fill_operand(Program& p, const Decoded& d, u64 at);
    void fill_header(Program& p, u64 at, u32 mxcsr);
    void aim_components(Draft& draft);

    Forms& forms_;
    Wishes wishes_;
    Rng rng_;
    std::vector<unsigned> chosen_[3];  // for 64, 32 and 16 bits
    std::vector<bool> is_chosen_;
};

}  // namespace silicon::oracle
