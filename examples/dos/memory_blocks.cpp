#include "memory_blocks.h"

#include <algorithm>

#include "errors.h"

namespace dos {

uint16_t MemoryBlocks::next_after(uint16_t segment) const {
    const auto next = blocks_.upper_bound(segment);
    return next == blocks_.end() ? end_ : next->first;
}

// The first place that is large enough.
uint16_t MemoryBlocks::allocate(uint16_t paragraphs) {
    const int wanted = std::max<int>(paragraphs, 1);
    int start = first_;
    for (const auto& [segment, end] : blocks_) {
        if (segment - start >= wanted) break;
        start = end;
    }
    if (next_after(static_cast<uint16_t>(start - 1)) - start < wanted) throw Failure{DosError::insufficient_memory};
    blocks_[static_cast<uint16_t>(start)] = static_cast<uint16_t>(start + wanted);
    return static_cast<uint16_t>(start);
}

void MemoryBlocks::release(uint16_t segment) {
    if (!blocks_.erase(segment)) throw Failure{DosError::invalid_block};
}

void MemoryBlocks::resize(uint16_t segment, uint16_t paragraphs) {
    if (paragraphs > room_for(segment)) throw Failure{DosError::insufficient_memory};
    blocks_[segment] = static_cast<uint16_t>(segment + std::max<int>(paragraphs, 1));
}

uint16_t MemoryBlocks::room_for(uint16_t segment) const {
    if (!blocks_.count(segment)) throw Failure{DosError::invalid_block};
    return static_cast<uint16_t>(next_after(segment) - segment);
}

uint16_t MemoryBlocks::largest() const {
    int most = 0;
    uint16_t start = first_;
    for (const auto& [segment, end] : blocks_) {
        most = std::max(most, segment - start);
        start = end;
    }
    return static_cast<uint16_t>(std::max(most, end_ - start));
}

}  // namespace dos
