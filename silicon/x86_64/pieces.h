// The device accesses of the one unfinished instruction, in order. The instruction runs again after each answer and takes
// the logged pieces as they come; the log is cleared when it commits.
#pragma once

#include <cstring>
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

    // All of it as bytes, for a saved state: the number of pieces, the pieces, then the bytes of a long answer.
    std::vector<u8> image() const {
        if (empty()) return {};
        std::vector<u8> bytes(sizeof(u64) + log_.size() * saved_bytes);
        const u64 count = log_.size();
        std::memcpy(bytes.data(), &count, sizeof count);
        u8* at = bytes.data() + sizeof count;
        for (const Piece& piece : log_) {
            const u64 words[3] = {u64(piece.kind) | u64{piece.size_bytes} << 8 | u64{piece.refused} << 16, piece.address, piece.value};
            std::memcpy(at, words, saved_bytes);
            at += saved_bytes;
        }
        bytes.insert(bytes.end(), answer_bytes_.begin(), answer_bytes_.end());
        return bytes;
    }
    // False: these are not such bytes, and nothing has changed.
    bool restore(const u8* bytes, size_t size) {
        u64 count = 0;
        if (size) {
            if (size < sizeof count) return false;
            std::memcpy(&count, bytes, sizeof count);
            if (count > (size - sizeof count) / saved_bytes) return false;
        }
        std::vector<Piece> log;
        const u8* at = bytes + (size ? sizeof count : 0);
        for (u64 n = 0; n < count; ++n, at += saved_bytes) {
            u64 words[3];
            std::memcpy(words, at, saved_bytes);
            if ((words[0] & 0xff) > u64(Piece::Kind::MsrWrite)) return false;
            log.push_back({static_cast<Piece::Kind>(words[0] & 0xff), u8(words[0] >> 8), (words[0] >> 16 & 1) != 0, words[1], words[2]});
        }
        log_ = std::move(log);
        answer_bytes_.assign(at, bytes + size);
        next_ = 0;
        return true;
    }

  private:
    static constexpr size_t saved_bytes = 3 * sizeof(u64);
    std::vector<Piece> log_;
    size_t next_ = 0;
    std::vector<u8> answer_bytes_;
};

}  // namespace silicon::x86
