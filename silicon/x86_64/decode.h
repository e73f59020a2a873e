// From bytes to a runnable Insn: Zydis decodes, the instruction table says what it means.
#pragma once

#include <memory>
#include <vector>

#include "silicon/x86_64/insn.h"

namespace silicon::x86 {

class CpuidTable;
struct Row;

enum class DecodeStatus : u8 {
    Done,
    Truncated,  // more bytes are needed
    Undefined,  // #UD
    TooLong,    // over 15 bytes: #GP(0)
};

// One mnemonic of one row.
struct DecodedForm {
    const char* mnemonic;  // in small letters
    const Row* row;
};

// What the vCPUs of this process have decoded since the last call: what a test says that it judges is held against this.
std::vector<DecodedForm> take_decoded_forms();

class Decoder {
  public:
    static constexpr unsigned max_bytes = 15;

    Decoder();
    ~Decoder();
    // `in.length` is set for Done; `row` is what it runs.
    DecodeStatus decode(const CpuidTable& cpuid, const u8* bytes, size_t size, u32 mode, Insn& in, const Row*& row) const;

  private:
    struct Modes;
    std::unique_ptr<Modes> modes_;
};

}  // namespace silicon::x86
