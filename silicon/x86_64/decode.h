// From bytes to a runnable Insn: Zydis decodes, the instruction table says what it means.
#pragma once

#include <memory>

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
