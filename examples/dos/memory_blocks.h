// Which paragraphs (16 bytes) of conventional memory belong to whom.
#pragma once

#include <cstdint>
#include <map>

namespace dos {

class MemoryBlocks {
   public:
    MemoryBlocks(uint16_t first, uint16_t end) : first_(first), end_(end) {}

    // The segment of a new block. Raises DosError::insufficient_memory.
    uint16_t allocate(uint16_t paragraphs);
    // Raises DosError::invalid_block.
    void release(uint16_t segment);
    // Raises DosError::invalid_block, or insufficient_memory with the block unchanged.
    void resize(uint16_t segment, uint16_t paragraphs);
    uint16_t largest() const;                   // free paragraphs in a row
    uint16_t room_for(uint16_t segment) const;  // paragraphs that a block could have
    uint16_t end() const { return end_; }

   private:
    uint16_t next_after(uint16_t segment) const;  // where the next block begins

    uint16_t first_, end_;
    std::map<uint16_t, uint16_t> blocks_;  // segment to end
};

}  // namespace dos
