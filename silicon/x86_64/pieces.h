// The device accesses of the one unfinished instruction, in order. The instruction runs again after each answer and takes
// the logged pieces as they come; the log is cleared when it commits.
#pragma once

#include <vector>

#include "silicon/types.h"

namespace silicon::x86 {

struct Piece {
    enum class Kind : u8 { Load, Store, PortIn, MsrRead, MsrWrite };
    Kind kind;
    u8 size_bytes;
    bool refused = false;  // an MSR access that ends in #GP(0)
    u64 address;           // GPA, port or MSR
    u64 value;
};

class Pieces {
  public:
    bool empty() const { return log_.empty() && answer_bytes_.empty(); }
    void rewind() { next_ = 0; }
    void clear_log() {  // an iteration of REP has committed; bytes of a long answer may be left
        log_.clear();
        next_ = 0;
    }
    void clear() {
        clear_log();
        answer_bytes_.clear();
    }
    void push(const Piece& piece) { log_.push_back(piece); }

    // The next logged piece if it is this access; what comes after a different one is not this instruction's any more.
    const Piece* take(Piece::Kind kind, u64 address, unsigned size_bytes) {
        if (next_ == log_.size()) return nullptr;
        const Piece& piece = log_[next_];
        if (piece.kind != kind || piece.address != address || piece.size_bytes != size_bytes) {
            log_.resize(next_);
            return nullptr;
        }
        ++next_;
        return &piece;
    }

    // The answer to a REP INS: items in guest byte order, used up from the front.
    std::vector<u8>& answer_bytes() { return answer_bytes_; }
    const std::vector<Piece>& log() const { return log_; }

  private:
    std::vector<Piece> log_;
    size_t next_ = 0;
    std::vector<u8> answer_bytes_;
};

}  // namespace silicon::x86
