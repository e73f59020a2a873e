// Words that every part of the software CPU uses.
#pragma once

#include <cstddef>
#include <cstdint>

namespace silicon {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
using u128 = unsigned __int128;
using i128 = __int128;

// Sixteen bytes as they lie in an XMM register.
using Vec = u64 __attribute__((vector_size(16)));

inline constexpr unsigned page_shift = 12;
inline constexpr u64 page_bytes = u64{1} << page_shift;
inline constexpr u64 page_offset_mask = page_bytes - 1;

// Rights of a page, as hv_memory_flags_t numbers them.
enum Perm : u8 { perm_none = 0, perm_read = 1, perm_write = 2, perm_exec = 4, perm_all = 7 };

enum class Access : u8 { Read, Write, Fetch };

// What a handler, or one of the accesses it makes, came to.
enum class Outcome : u8 {
    Next,   // done; go on with the next instruction
    Stop,   // nothing has happened: a fault is raised or an exit is recorded
    Leave,  // done, but leave the block after this instruction
    Again,  // an iteration of REP is done and more are to come: leave with RIP on the instruction
};

#define SILICON_INLINE inline __attribute__((always_inline))
#define SILICON_COLD __attribute__((cold, noinline))

}  // namespace silicon
