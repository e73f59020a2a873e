// What both sides of the oracle share: where everything lies, and what one judged program is.
//
//   0x1ffe0000  host only: the state area of the stubs       0x1fff0000  where programs end (soft: UD2, host: the stub)
//   0x20000000  code, 16 pages R-X, nothing behind           0x20100000  data: pages 0-2 RW-, 3 R--, 4 absent, 5 RW-
//
// 16-bit code has a segment each: CS begins at the code, DS, ES and SS at the data, all of 64 KiB. RIP is kept as the
// linear address here. Everything is below 2 GiB, so that 32-bit code and absolute 32-bit displacements reach it.
#pragma once

#include <array>

#include "silicon/types.h"
#include "silicon/x86_64/state.h"

namespace silicon::oracle {

inline constexpr u64 state_at = 0x1ffe'0000, end_at = 0x1fff'0000, end32_at = end_at + 0x800,
                     recover_at = end_at + 0xc00;
inline constexpr u64 code_at = 0x2000'0000, code_bytes = 16 * page_bytes;
inline constexpr u64 data_at = 0x2010'0000, data_pages = 6, data_bytes = data_pages * page_bytes;
inline constexpr u64 read_only_page = 3, absent_page = 4;
inline constexpr u64 slot_bytes = 176;  // not a divisor of a page: some programs cross an edge
inline constexpr unsigned most_code = 160;
inline constexpr unsigned batch_size = code_bytes / slot_bytes - 1;

inline constexpr u16 code16_selector = 0x07, data16_selector = 0x0f;  // entries of the child's LDT
constexpr u64 code_base(unsigned bits) { return bits == 16 ? code_at : 0; }
constexpr u64 data_base(unsigned bits) { return bits == 16 ? data_at : 0; }
// Where programs end: 16-bit code jumps to the 64-bit end itself.
constexpr u64 end_for(unsigned bits) { return bits == 32 ? end32_at : end_at; }

constexpr bool is_writable_page(u64 page) { return page != read_only_page && page != absent_page; }

struct Registers {
    u64 gpr[16];
    u64 rip;
    u64 rflags;
    x86::FxState fx;  // x87 registers by their place on the stack, as FXSAVE has them
};

// One 8-byte word of the data pages that is not as in the pattern.
struct Change {
    u64 address = 0, value = 0;
    bool operator==(const Change&) const = default;
};
inline constexpr unsigned most_patches = 9;  // the header of an XSAVE area, and MXCSR before it

// How a program came to an end: an exception vector, or one of these.
enum Ending : u32 {
    ended = 0x100,
    timed_out = 0x101,
    unexpected = 0x102,
    escaped = 0x103
};  // escaped: made a system call

struct Result {
    Registers after;
    u32 ending;        // vector or Ending
    u32 error;         // error code of the exception; of `unexpected`: the exit kind
    u64 address;       // CR2 of a page fault
    u32 change_count;  // words changed; the first `most_changes` are listed, all are in the hash
    u64 change_hash;
    static constexpr unsigned most_changes = 24;
    Change changes[most_changes];
};

struct Job {
    Registers before;
    Change patches[most_patches];  // words of data set before the start; address 0: none
    u32 bits;                   // 64, 32 or 16
    bool has_image;             // the program begins with an image of x87 and SSE state, at `image`
    u64 image;
    Result result;              // the host's
};

using Pattern = std::array<u8, data_bytes>;

// Finds what differs from the pattern and puts it back. `page(n)` is where data page n is.
template <class PageOf>
void collect_changes(const Pattern& pattern, PageOf page, Result& out) {
    out.change_count = 0;
    out.change_hash = 0xcbf2'9ce4'8422'2325;
    for (u64 n = 0; n < data_pages; ++n) {
        if (!is_writable_page(n)) continue;
        u8* now = page(n);
        const u8* before = pattern.data() + n * page_bytes;
        if (__builtin_memcmp(now, before, page_bytes) == 0) continue;
        for (u64 at = 0; at < page_bytes; at += 8) {
            u64 value, old;
            __builtin_memcpy(&value, now + at, 8);
            __builtin_memcpy(&old, before + at, 8);
            if (value == old) continue;
            __builtin_memcpy(now + at, &old, 8);
            const u64 address = data_at + n * page_bytes + at;
            if (out.change_count < Result::most_changes) out.changes[out.change_count] = {address, value};
            ++out.change_count;
            out.change_hash = ((out.change_hash ^ address) * 0x100'0000'01b3 ^ value) * 0x9e37'79b9'7f4a'7c15;
        }
    }
}

}  // namespace silicon::oracle
