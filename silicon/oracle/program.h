// A program to judge: a few instructions, the registers before them, and some words of memory.
#pragma once

#include <Zydis/Zydis.h>

#include <string>
#include <vector>

#include "silicon/oracle/layout.h"

namespace silicon::oracle {

struct Step {
    u8 bytes[15];
    u8 length = 0;
    int unit = -1;        // place in Forms::units; -1: nothing of the table (invalid on both sides)
    u8 branch_bytes = 0;  // of the relative displacement at the end
    u8 skip = 0;          // instructions that a taken branch jumps over
    u64 undefined = 0;    // flags it may leave undefined: RFLAGS, and the x87 status word from `status_shift` on
    u64 defines = 0;      // flags it writes in any case
    u64 reads = 0;
    bool branches = false;
};

struct Program {
    unsigned bits = 64;
    std::vector<Step> steps;
    Registers before{};
    Change patches[most_patches];
    u64 pattern_seed = 0;
    bool at_edge = false;  // ends with the code area, or is cut by it: what follows is a fetch fault
    // Flags not to compare when the program stops at step n (its size: has run to its end).
    std::vector<u64> ignored;

    // False: no room for another, or not all in pages that can be written.
    bool patch(u64 address, u64 value);
    unsigned code_length() const;
    u64 step_address(unsigned n) const;
    int step_at(u64 rip) const;  // -1: none begins there
    bool has_branch() const;
    // Fills `ignored`. False: an instruction may read a flag that one before it left undefined.
    bool work_out_ignored();
};

constexpr u64 slot_address(unsigned slot) { return code_at + slot * slot_bytes; }
// At this place of each slot there is a jump to the end, so that registers and memory can point to one.
constexpr u64 way_out(unsigned slot) { return slot_address(slot) + slot_bytes - 8; }

// The bytes of all steps, with the distances of branches.
std::vector<u8> code_of(const Program& program);
// Puts the code into the shared code area. `before.rip` says where.
void write_code(const Program& program, u8* code_area);
constexpr unsigned most_jump_bytes = 8;
void write_way_out(unsigned slot, unsigned bits, u8* code_area);
// Seeds with this bit give memory with floating-point and packed values too.
inline constexpr u64 pattern_with_vectors = u64{1} << 63;
void make_pattern(u64 seed, Pattern& pattern);

std::string hex_bytes(const u8* bytes, size_t count);
std::string disassemble(const Step& step, unsigned bits, u64 address);
struct Decoded {
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    ZyanStatus status;
    bool ok() const { return ZYAN_SUCCESS(status); }
};
Decoded decode(const u8* bytes, size_t size, unsigned bits);

}  // namespace silicon::oracle
