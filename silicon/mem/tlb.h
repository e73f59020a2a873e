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

    bool is_of(u64 page) const { return read == page || write == page || fetch == page; }
    u64 page() const { return read != no_tag ? read : write != no_tag ? write : fetch; }
};
static_assert(sizeof(TlbEntry) == 32);

// What is in use stands in a list, so that forgetting costs what was learnt: a change of address space empties a few dozen
// entries, not the 32 KiB.
class Tlb {
  public:
    static constexpr unsigned entries = 1024;

    static SILICON_INLINE u64 index(u64 linear) { return (linear >> page_shift) & (entries - 1); }
    TlbEntry* data() { return table_.data(); }

    // The entry for this page, with the tags that still hold. `size_shift`: of the guest's page, 12 for 4 KiB.
    TlbEntry& claim(u64 linear, u64 addend, unsigned size_shift, bool global) {
        const u64 n = index(linear), page = linear & ~page_offset_mask;
        TlbEntry& entry = table_[n];
        const u8 kind = u8(size_shift | (global ? is_global : 0));
        if (kinds_[n] == 0) listed_[count_++] = u16(n);
        if (kinds_[n] != kind || entry.addend != addend || !entry.is_of(page)) entry = TlbEntry{};
        kinds_[n] = kind;
        has_large_ |= size_shift > page_shift;
        entry.addend = addend;
        return entry;
    }

    void flush() {
        drop_if([](const TlbEntry&, u8) { return true; });
        has_large_ = false;
    }
    void flush_but_global() {
        drop_if([](const TlbEntry&, u8 kind) { return !(kind & is_global); });
    }
    // All entries of the guest page around `linear`: a large page may have several. Global or not.
    void flush_page(u64 linear) {
        TlbEntry& entry = table_[index(linear)];
        const u64 page = linear & ~page_offset_mask;
        if (entry.is_of(page)) entry = TlbEntry{};  // it stays listed
        if (!has_large_) return;
        drop_if([linear](const TlbEntry& e, u8 kind) {
            const unsigned shift = kind & ~is_global;
            return shift > page_shift && (e.page() ^ linear) >> shift == 0;
        });
    }

  private:
    static constexpr u8 is_global = 0x80;

    template <class Wanted>
    void drop_if(Wanted wanted) {
        unsigned kept = 0;
        for (unsigned n = 0; n < count_; ++n) {
            const u16 place = listed_[n];
            if (wanted(table_[place], kinds_[place])) {
                table_[place] = TlbEntry{};
                kinds_[place] = 0;
            } else {
                listed_[kept++] = place;
            }
        }
        count_ = kept;
    }

    std::array<TlbEntry, entries> table_;
    std::array<u8, entries> kinds_{};  // 0: empty and not listed; else the page's size, and whether it is global
    std::array<u16, entries> listed_{};
    unsigned count_ = 0;
    bool has_large_ = false;
};

// Which of a vCPU's tables. Supervisor accesses obey SMAP only while EFLAGS.AC is 0, so that is a table of its own; so is
// user code under alignment checks, whose table serves fetches only: each data access takes the slow way and is looked at.
enum class TlbContext : u8 { User, UserAligned, Supervisor, SupervisorSmap, Count };

}  // namespace silicon
