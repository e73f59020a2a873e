// Guest-physical memory: a table from GPA pages to host pages, changed from any thread while vCPUs run.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "silicon/types.h"

namespace silicon {

// One GPA page: the host page's address with these bits below.
class PageEntry {
  public:
    static constexpr u64 present = 1, readable = 2, writable = 4, executable = 8;
    static constexpr u64 holds_code = 16;  // some vCPU has decoded instructions from it
    static constexpr u64 logged = 32;      // stores to it are logged, whether it is mapped now or not
    static constexpr u64 clean = 64;       // logged, and not written since the log was taken: no TLB has a write tag for it
    static constexpr u64 rights = readable | writable | executable;

    constexpr PageEntry(u64 bits = 0) : bits_(bits) {}
    static PageEntry of(u8* host, u8 perm) { return PageEntry(reinterpret_cast<u64>(host) | present | u64{perm} << 1); }

    bool is_mapped() const { return bits_ & present; }
    bool can_read() const { return bits_ & readable; }
    bool can_write() const { return bits_ & writable; }
    bool can_execute() const { return bits_ & executable; }
    bool allows(Access access) const { return bits_ & (readable << static_cast<unsigned>(access)); }
    bool is_code() const { return bits_ & holds_code; }
    bool is_clean() const { return bits_ & clean; }
    u8 perm() const { return static_cast<u8>((bits_ & rights) >> 1); }
    u8* host() const { return reinterpret_cast<u8*>(bits_ & ~page_offset_mask); }
    u64 bits() const { return bits_; }

  private:
    u64 bits_;
};

// What the memory knows of a vCPU, to stop it from using what has changed.
struct MemoryUser {
    explicit MemoryUser(std::atomic<u32>& requests) : requests(requests) {}
    std::atomic<u32>& requests;          // its attention word; `request_memory` is set in it
    std::atomic<bool> inside{false};     // it may hold translations of the map as it was
    std::atomic<u64> seen{0};            // the generation of the map that it has last looked at
    std::mutex lock;                     // of `stale`
    std::vector<u64> stale;              // GPA pages whose code was overwritten
};
inline constexpr u32 request_memory = 1;  // look at the generation and at `stale`

class GuestMemory {
  public:
    static constexpr unsigned gpa_bits = 40;
    static constexpr u64 gpa_end = u64{1} << gpa_bits;

    GuestMemory();
    ~GuestMemory();
    GuestMemory(const GuestMemory&) = delete;
    GuestMemory& operator=(const GuestMemory&) = delete;

    // Ranges are whole pages below `gpa_end`, mapped ranges must have been free, the others mapped: the caller has
    // checked. All three return when no vCPU can use what was there before.
    void map(u64 gpa, u8* host, u64 size, u8 perm);
    void unmap(u64 gpa, u64 size);
    void protect(u64 gpa, u64 size, u8 perm);
    u64 mapped_bytes(u64 gpa, u64 size) const;

    // The dirty log (dirty_log.cpp). Whole pages below `gpa_end`, mapped or not; mapping one counts as a store to it.
    // Every store after `log` returned is seen. A store that `take_written` does not report is reported next time, and what
    // it reports is there to be read: it returns when no vCPU can store unseen any more.
    void log(u64 gpa, u64 size, bool on);
    u64 logged_pages(u64 gpa, u64 size) const;
    void take_written(u64 gpa, u64 size, u8* bitmap);  // a bit a page, lowest first, of zeros
    // Stores that somebody made by other ways; before such a store by a vCPU, after one by anybody else.
    void mark_written(u64 gpa, u64 size);

    SILICON_INLINE PageEntry entry(u64 gpa) const {
        if (gpa >= gpa_end) return PageEntry{};
        const Leaf* leaf = top_[gpa >> leaf_shift].load(std::memory_order_acquire);
        if (!leaf) return PageEntry{};
        return PageEntry(leaf->pages[(gpa >> page_shift) & (leaf_pages - 1)].load(std::memory_order_acquire));
    }

    // For vCPUs. `user` is outside while it waits in one of these.
    void join(MemoryUser& user);
    void part(MemoryUser& user);
    // From now on no store to these bytes (of one page) goes unseen.
    void hold_code(u64 gpa, u64 size_bytes, MemoryUser& user);
    // Whether these bytes of one page are marked still: after a write into the page none are.
    bool holds_all(u64 gpa, u64 size_bytes);
    // After a store to a page that holds code: true if it hit some; then every vCPU is told to drop the page's code.
    bool code_written(u64 gpa, u64 size_bytes);
    u64 generation() const { return generation_.load(std::memory_order_seq_cst); }
    std::mutex& exclusive() { return exclusive_; }  // locked accesses over a page edge

  private:
    static constexpr unsigned leaf_shift = 26;
    static constexpr u64 leaf_pages = u64{1} << (leaf_shift - page_shift);
    struct Leaf {
        std::atomic<u64> pages[leaf_pages];
        std::atomic<u64> code[leaf_pages];  // which of the page's 64 granules of 64 bytes hold code
    };
    static u64 granules(u64 gpa, u64 size_bytes);
    struct LeafDeleter {
        void operator()(Leaf* leaf) const;
    };

    std::atomic<u64>& slot(u64 gpa);
    std::atomic<u64>& code_slot(u64 gpa);
    Leaf& make_leaf(u64 gpa);
    void make_leaves(u64 gpa, u64 size);
    static void map_page(std::atomic<u64>& page, u8* host, u8 perm);
    u64 announce();
    void wait_for(u64 generation, const MemoryUser* except);

    std::unique_ptr<std::atomic<Leaf*>[]> top_;
    std::vector<std::unique_ptr<Leaf, LeafDeleter>> leaves_;
    std::atomic<u64> generation_{1};
    std::mutex change_;  // of the table and of `users_`
    std::mutex exclusive_;
    std::vector<MemoryUser*> users_;
};

}  // namespace silicon
