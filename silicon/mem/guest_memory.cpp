#include "silicon/mem/guest_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <thread>

namespace silicon {

// A leaf is anonymous memory straight from the system: zero pages that cost nothing until they are used.
GuestMemory::Leaf& GuestMemory::make_leaf(u64 gpa) {
    std::atomic<Leaf*>& place = top_[gpa >> leaf_shift];
    if (Leaf* leaf = place.load(std::memory_order_relaxed)) return *leaf;
    void* pages = mmap(nullptr, sizeof(Leaf), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    auto* leaf = static_cast<Leaf*>(pages);
    leaves_.emplace_back(leaf);
    place.store(leaf, std::memory_order_release);
    return *leaf;
}

void GuestMemory::make_leaves(u64 gpa, u64 size) {
    for (u64 at = gpa & ~((u64{1} << leaf_shift) - 1); at < gpa + size; at += u64{1} << leaf_shift) make_leaf(at);
}

void GuestMemory::LeafDeleter::operator()(Leaf* leaf) const { munmap(leaf, sizeof(Leaf)); }

GuestMemory::GuestMemory() : top_(new std::atomic<Leaf*>[gpa_end >> leaf_shift]()) {}
GuestMemory::~GuestMemory() = default;

std::atomic<u64>& GuestMemory::slot(u64 gpa) {
    return top_[gpa >> leaf_shift].load(std::memory_order_relaxed)->pages[(gpa >> page_shift) & (leaf_pages - 1)];
}

// Says that the table has changed; `change_` is held.
u64 GuestMemory::announce() {
    const u64 generation = generation_.fetch_add(1, std::memory_order_seq_cst) + 1;
    for (MemoryUser* user : users_) user->requests.fetch_or(request_memory, std::memory_order_seq_cst);
    return generation;
}

// Returns when every vCPU but `except` is outside or has looked. They look at every block start, so this is short;
// `change_` is taken for each look so that a vCPU may go away meanwhile.
void GuestMemory::wait_for(u64 generation, const MemoryUser* except) {
    for (unsigned round = 0;; ++round) {
        {
            const std::lock_guard hold(change_);
            const bool all = std::all_of(users_.begin(), users_.end(), [&](const MemoryUser* user) {
                return user == except || !user->inside.load(std::memory_order_seq_cst) ||
                       user->seen.load(std::memory_order_seq_cst) >= generation;
            });
            if (all) return;
        }
        if (round < 64)
            std::this_thread::yield();
        else
            std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
}

// A page that is logged counts as written: its bytes are others now.
void GuestMemory::map_page(std::atomic<u64>& page, u8* host, u8 perm) {
    const u64 logged = page.load(std::memory_order_relaxed) & PageEntry::logged;
    page.store(PageEntry::of(host, perm).bits() | logged, std::memory_order_release);
}

void GuestMemory::map(u64 gpa, u8* host, u64 size, u8 perm) {
    u64 generation;
    {
        const std::lock_guard hold(change_);
        make_leaves(gpa, size);
        for (u64 at = 0; at < size; at += page_bytes)
            map_page(slot(gpa + at), host + at, perm);
        generation = announce();
    }
    wait_for(generation, nullptr);
}

void GuestMemory::unmap(u64 gpa, u64 size) {
    u64 generation;
    {
        const std::lock_guard hold(change_);
        for (u64 at = 0; at < size; at += page_bytes)
            if (entry(gpa + at).is_mapped()) slot(gpa + at).fetch_and(PageEntry::logged | PageEntry::clean, std::memory_order_release);
        generation = announce();
    }
    wait_for(generation, nullptr);
}

void GuestMemory::protect(u64 gpa, u64 size, u8 perm) {
    u64 generation;
    {
        const std::lock_guard hold(change_);
        for (u64 at = 0; at < size; at += page_bytes) {
            std::atomic<u64>& page = slot(gpa + at);
            u64 old = page.load(std::memory_order_relaxed);
            while (!page.compare_exchange_weak(old, (old & ~PageEntry::rights) | u64{perm} << 1)) {
            }
        }
        generation = announce();
    }
    wait_for(generation, nullptr);
}

u64 GuestMemory::mapped_bytes(u64 gpa, u64 size) const {
    u64 bytes = 0;
    for (u64 at = gpa; at < gpa + size;) {
        if (at < gpa_end && !top_[at >> leaf_shift].load(std::memory_order_acquire)) {
            at = ((at >> leaf_shift) + 1) << leaf_shift;
            continue;
        }
        if (entry(at).is_mapped()) bytes += page_bytes;
        at += page_bytes;
    }
    return bytes;
}

void GuestMemory::join(MemoryUser& user) {
    const std::lock_guard hold(change_);
    users_.push_back(&user);
}

void GuestMemory::part(MemoryUser& user) {
    const std::lock_guard hold(change_);
    std::erase(users_, &user);
}

std::atomic<u64>& GuestMemory::code_slot(u64 gpa) {
    return top_[gpa >> leaf_shift].load(std::memory_order_acquire)->code[(gpa >> page_shift) & (leaf_pages - 1)];
}

u64 GuestMemory::granules(u64 gpa, u64 size_bytes) {
    const unsigned first = (gpa & page_offset_mask) / 64, last = ((gpa & page_offset_mask) + size_bytes - 1) / 64;
    return (~u64{0} >> (63 - (last - first))) << first;
}

// The page is marked and every other vCPU has dropped its write translation of it before this returns, so bytes read
// afterwards cannot change without `code_written`. A store that races with the mark of a further granule is either
// followed by a look at that mark, or seen by the reader.
void GuestMemory::hold_code(u64 gpa, u64 size_bytes, MemoryUser& user) {
    const PageEntry now = entry(gpa);
    if (!now.is_mapped()) return;
    code_slot(gpa).fetch_or(granules(gpa, size_bytes), std::memory_order_seq_cst);
    if (now.is_code()) return;
    user.inside.store(false, std::memory_order_seq_cst);
    u64 generation = 0;
    {
        const std::lock_guard hold(change_);
        if (entry(gpa).is_mapped()) {
            slot(gpa).fetch_or(PageEntry::holds_code, std::memory_order_seq_cst);
            generation = announce();
        }
    }
    if (generation) wait_for(generation, &user);
    user.inside.store(true, std::memory_order_seq_cst);
}

bool GuestMemory::holds_all(u64 gpa, u64 size_bytes) {
    if (!entry(gpa).is_code()) return false;
    const u64 wanted = granules(gpa, size_bytes);
    return (code_slot(gpa).load(std::memory_order_seq_cst) & wanted) == wanted;
}

bool GuestMemory::code_written(u64 gpa, u64 size_bytes) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!(code_slot(gpa).load(std::memory_order_seq_cst) & granules(gpa, size_bytes))) return false;
    const std::lock_guard hold(change_);
    if (!entry(gpa).is_code()) return false;
    slot(gpa).fetch_and(~PageEntry::holds_code, std::memory_order_seq_cst);
    code_slot(gpa).store(0, std::memory_order_seq_cst);
    for (MemoryUser* user : users_) {
        {
            const std::lock_guard mail(user->lock);
            user->stale.push_back(gpa & ~page_offset_mask);
        }
        user->requests.fetch_or(request_memory, std::memory_order_seq_cst);
    }
    return true;
}

}  // namespace silicon
