// Decoded code: runs of instructions by physical address, one cache a vCPU.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "silicon/mem/guest_memory.h"
#include "silicon/x86_64/insn.h"

namespace silicon::x86 {

// Straight-line instructions of one page, ended by a branch or by a filler that falls through to the next address.
struct Block {
    u64 stamp = 0;          // epoch << 32 | decoding mode: equal to the vCPU's where this may run without another look
    u64 gpa = 0;            // of the first byte
    u64 second_gpa = 0;     // of the second page, for the one instruction that crosses an edge; else 0
    const u8* host = nullptr;
    u32 mode = 0;
    u16 count = 0;          // instructions
    u16 length = 0;         // bytes
    const u8* bytes = nullptr;  // what was decoded, to tell whether the host has written over it
    Insn insns[1];          // `count`, then the filler
};

class BlockCache {
  public:
    static constexpr unsigned max_insns = 64;
    static constexpr unsigned jump_entries = 4096;

    struct Jump {
        u64 key = ~u64{0};
        Block* block = nullptr;
    };

    // By linear address, salted: changing the salt forgets all of it.
    SILICON_INLINE Jump& jump(u64 linear) { return jumps_[(linear ^ linear >> 12) & (jump_entries - 1)]; }
    SILICON_INLINE u64 jump_key(u64 linear, bool user) const { return linear ^ salt_ ^ u64{user} << 57; }
    void forget_jumps();

    Block* find(u64 gpa, u32 mode) const;
    Block* add(const Block& head, const Insn* insns, const u8* bytes);
    void drop_page(u64 gpa);
    void drop_all();

    size_t blocks() const { return by_key_.size(); }
    u64 decoded = 0;  // blocks made, for the statistics

  private:
    static constexpr size_t arena_bytes = size_t{1} << 20;
    static constexpr size_t most_bytes = size_t{64} << 20;
    static constexpr unsigned mode_bits = 10;
    static_assert(mode::decoding >> mode_bits == 0 && GuestMemory::gpa_bits + mode_bits <= 64);
    static u64 key(u64 gpa, u32 mode) { return gpa << mode_bits | mode; }
    void* allocate(size_t bytes);

    std::unique_ptr<Jump[]> jumps_{new Jump[jump_entries]};
    u64 salt_ = 0;
    std::unordered_map<u64, Block*> by_key_;
    std::unordered_map<u64, std::vector<u64>> by_page_;  // GPA page → keys
    std::vector<std::unique_ptr<u8[]>> arenas_;
    size_t used_ = arena_bytes;
};

}  // namespace silicon::x86
