// A vCPU's translations from linear pages to host pages: direct-mapped, one compare a hit.
#pragma once

#include <array>

#include "silicon/types.h"

namespace silicon {

// Each tag is the page's linear address where that kind of access needs no further look, else `no_tag`. The access is
// compared by the address of its last byte, so one that crosses into the next page never hits.
struct TlbEntry {
    static constexpr u64 no_tag = ~u64{0};
    u64 read = no_tag;
    u64 write = no_tag;
    u64 fetch = no_tag;
    u64 addend = 0;  // host address minus linear address
};
static_assert(sizeof(TlbEntry) == 32);

struct Tlb {
    static constexpr unsigned entries = 1024;
    std::array<TlbEntry, entries> table;
    bool used = false;

    static SILICON_INLINE u64 index(u64 linear) { return (linear >> page_shift) & (entries - 1); }
    TlbEntry& at(u64 linear) { return table[index(linear)]; }

    // `used` stays: the table that is selected now is filled again without being selected again.
    void flush() {
        if (used) table.fill(TlbEntry{});
    }
    void flush_page(u64 linear) {
        TlbEntry& entry = at(linear);
        const u64 page = linear & ~page_offset_mask;
        if (entry.read == page || entry.write == page || entry.fetch == page) entry = TlbEntry{};
    }
};

// Which of a vCPU's tables: supervisor accesses obey SMAP only while EFLAGS.AC is 0, so that is a table of its own.
enum class TlbContext : u8 { User, Supervisor, SupervisorSmap, Count };

}  // namespace silicon
