// Which pages were written: a page that is logged and clean has no write tag in any TLB, so the first store to it takes the
// slow way, which marks it; then it has one, until the log is taken.
//
// A vCPU marks a page before it stores, in the same instruction: whoever takes the mark returns when that instruction is done.
// Others have stored when they mark.
#include "silicon/mem/guest_memory.h"

namespace silicon {

void GuestMemory::log(u64 gpa, u64 size, bool on) {
    constexpr u64 both = PageEntry::logged | PageEntry::clean;
    u64 generation;
    {
        const std::lock_guard hold(change_);
        if (on) make_leaves(gpa, size);
        for (u64 at = gpa; at < gpa + size; at += page_bytes) {
            if (on && !(entry(at).bits() & PageEntry::logged)) slot(at).fetch_or(both, std::memory_order_seq_cst);
            if (!on && entry(at).bits() & PageEntry::logged) slot(at).fetch_and(~both, std::memory_order_seq_cst);
        }
        if (!on) return;
        generation = announce();
    }
    wait_for(generation, nullptr);
}

u64 GuestMemory::logged_pages(u64 gpa, u64 size) const {
    u64 pages = 0;
    for (u64 at = gpa; at < gpa + size; at += page_bytes) pages += (entry(at).bits() & PageEntry::logged) != 0;
    return pages;
}

void GuestMemory::take_written(u64 gpa, u64 size, u8* bitmap) {
    u64 generation = 0;
    {
        const std::lock_guard hold(change_);
        bool any = false;
        for (u64 n = 0; n < size / page_bytes; ++n) {
            const u64 bits = entry(gpa + n * page_bytes).bits();
            if (!(bits & PageEntry::logged) || bits & PageEntry::clean) continue;
            slot(gpa + n * page_bytes).fetch_or(PageEntry::clean, std::memory_order_seq_cst);
            bitmap[n / 8] = u8(bitmap[n / 8] | 1 << n % 8);
            any = true;
        }
        if (any) generation = announce();
    }
    if (generation) wait_for(generation, nullptr);
}

void GuestMemory::mark_written(u64 gpa, u64 size) {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // what was stored is to be seen by whoever takes the mark
    for (u64 at = gpa & ~page_offset_mask; at < gpa + size; at += page_bytes)
        if (entry(at).is_clean()) slot(at).fetch_and(~PageEntry::clean, std::memory_order_seq_cst);
}

}  // namespace silicon
