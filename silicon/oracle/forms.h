// The instruction table as the oracle sees it: what can be generated, what can be judged, and what has been.
#pragma once

#include <Zydis/Zydis.h>

#include <string>
#include <unordered_map>
#include <vector>

#include "silicon/x86_64/ops/table.h"

namespace silicon::oracle {

struct OperandForm {
    u8 kind;  // as in x86::operand_key
    u8 size;
};

struct Form {
    const x86::Op* op;
    OperandForm operands[4] = {};
    unsigned operand_count = 0;
    bool lock;
    u8 rep;  // 0 none, 1 F3, 2 F2
    u16 misses[3] = {};  // by mode: how often no encoding was found before there was any
    u16 odd_bytes = 0;   // of a memory operand without a size code, the last that was right
    bool encodes[3] = {};

    static unsigned place(unsigned bits) { return bits == 64 ? 0 : bits == 32 ? 1 : 2; }
    bool is_hopeless(unsigned bits) const { return !encodes[place(bits)] && misses[place(bits)] >= 200; }
};

// One mnemonic of one row: the unit that is chosen, counted and listed.
struct Unit {
    const x86::Row* row;
    ZydisMnemonic mnemonic;
    std::vector<Form> forms;
    u64 judged = 0;
    u64 faulted = 0;  // of these
};

class Forms {
  public:
    Forms();  // what the host has and a user-mode program can judge

    std::vector<Unit>& units() { return units_; }
    const std::vector<Unit>& units() const { return units_; }
    // Units by their place in `units`, those chosen by family and mnemonic (empty: all) that exist in this mode.
    std::vector<unsigned> choose(const std::string& family, const std::string& mnemonic, unsigned bits) const;
    // The unit that a decoded instruction belongs to, or -1. The operands tell rows of one mnemonic apart.
    int unit_of(const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands) const;

  private:
    void add(const x86::Op& op);
    std::vector<Unit> units_;
    std::unordered_map<u32, std::vector<unsigned>> by_mnemonic_;
    std::unordered_map<const x86::Row*, std::unordered_map<u32, unsigned>> places_;
};

bool exists_in(const x86::Row& row, unsigned bits);
const char* name_of(ZydisMnemonic mnemonic);

// The RFLAGS bits that the SDM leaves undefined after this instruction with these registers before it: the row's, or by
// the count of a shift.
u64 undefined_flags(const Unit& unit, const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands,
                    u64 rcx);
// SHLD and SHRD of 16 bits by more than 16: the result is undefined too.
bool undefined_result(const Unit& unit, const ZydisDecodedInstruction& insn, const ZydisDecodedOperand* operands,
                      u64 rcx);

}  // namespace silicon::oracle
