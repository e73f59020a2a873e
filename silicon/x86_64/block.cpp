#include "silicon/x86_64/block.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace silicon::x86 {

// Linear addresses are canonical, with 57 bits at most, so their top 7 bits are alike: a counter there makes old keys match nothing.
void BlockCache::forget_jumps() {
    salt_ += u64{1} << 58;
    if (salt_ == 0) std::fill_n(jumps_.get(), jump_entries, Jump{});
}

Block* BlockCache::find(u64 gpa, u32 mode) const {
    const auto found = by_key_.find(key(gpa, mode));
    return found == by_key_.end() ? nullptr : found->second;
}

void* BlockCache::allocate(size_t bytes) {
    bytes = (bytes + 63) & ~size_t{63};
    if (used_ + bytes > arena_bytes) {
        arenas_.emplace_back(new u8[arena_bytes + 64]);
        used_ = 0;
    }
    u8* start = arenas_.back().get();
    start += -reinterpret_cast<uintptr_t>(start) & 63;
    void* place = start + used_;
    used_ += bytes;
    return place;
}

Block* BlockCache::add(const Block& head, const Insn* insns, const u8* bytes) {
    if (arenas_.size() * arena_bytes >= most_bytes) drop_all();
    const size_t insn_bytes = sizeof(Insn) * (head.count + 1u);
    auto* place = static_cast<u8*>(allocate(offsetof(Block, insns) + insn_bytes + head.length));
    auto* block = new (place) Block(head);
    std::memcpy(static_cast<void*>(block->insns), insns, insn_bytes);
    u8* copy = place + offsetof(Block, insns) + insn_bytes;
    std::memcpy(copy, bytes, head.length);
    block->bytes = copy;
    const u64 k = key(head.gpa, head.mode);
    by_key_[k] = block;
    by_page_[head.gpa >> page_shift].push_back(k);
    if (head.second_gpa) by_page_[head.second_gpa >> page_shift].push_back(k);
    ++decoded;
    return block;
}

void BlockCache::drop_page(u64 gpa) {
    const auto found = by_page_.find(gpa >> page_shift);
    if (found == by_page_.end()) return;
    for (const u64 k : found->second) {
        const auto block = by_key_.find(k);
        if (block == by_key_.end()) continue;
        block->second->stamp = 0;  // whatever still points to it looks again, and finds nothing
        by_key_.erase(block);
    }
    by_page_.erase(found);
    forget_jumps();
}

void BlockCache::drop_all() {
    by_key_.clear();
    by_page_.clear();
    arenas_.clear();
    used_ = arena_bytes;
    std::fill_n(jumps_.get(), jump_entries, Jump{});
}

}  // namespace silicon::x86
