// Random numbers that are the same everywhere for a seed: splitmix64.
#pragma once

#include "silicon/types.h"

namespace silicon::oracle {

class Rng {
  public:
    explicit Rng(u64 seed) : state_(seed) {}
    u64 next() {
        u64 z = state_ += 0x9e37'79b9'7f4a'7c15;
        z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
        z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
        return z ^ z >> 31;
    }
    u64 below(u64 n) { return static_cast<u64>(u128{next()} * n >> 64); }
    bool chance(unsigned percent) { return below(100) < percent; }
    template <class T, size_t N>
    const T& pick(const T (&list)[N]) {
        return list[below(N)];
    }

  private:
    u64 state_;
};

}  // namespace silicon::oracle
