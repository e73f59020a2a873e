// The host's random numbers, drawn in bulk.
#pragma once

#include <optional>

#include "silicon/types.h"

namespace silicon::x86 {

class Entropy {
  public:
    // None when the host has none to give.
    std::optional<u64> next();

  private:
    static constexpr unsigned capacity = 32;  // 256 bytes: as many as one request may ask for
    u64 numbers_[capacity];
    unsigned left_ = 0;
};

}  // namespace silicon::x86
