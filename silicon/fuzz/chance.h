// Random choices of one case: the same seed and number make the same case.
#pragma once

#include <iterator>

#include "silicon/types.h"

namespace silicon::fuzz {

class Chance {
  public:
    Chance(u64 seed, u64 number) : state_(seed * 0x9e3779b97f4a7c15 ^ (number + 1) * 0xd1342543de82ef95) {
        (*this)(), (*this)();
    }

    u64 operator()() {  // splitmix64
        u64 x = state_ += 0x9e3779b97f4a7c15;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
        x = (x ^ x >> 27) * 0x94d049bb133111eb;
        return x ^ x >> 31;
    }
    u64 below(u64 n) { return (*this)() % n; }
    bool one_in(u64 n) { return below(n) == 0; }
    u8 byte() { return u8((*this)() >> 24); }
    template <class T, size_t N>
    T pick(const T (&of)[N]) {
        return of[below(N)];
    }
    // A number as programs have them: small, near an edge, of few bits, or anything.
    u64 number() {
        constexpr u64 edges[] = {0,
                                 1,
                                 7,
                                 8,
                                 0xff,
                                 0xfff,
                                 0x1000,
                                 0x7fff,
                                 0x8000,
                                 0xffff,
                                 0x10000,
                                 0x7fffffff,
                                 0x80000000,
                                 0xffffffff,
                                 0x100000000,
                                 0x7fffffffffff,
                                 0x800000000000,
                                 0xffff800000000000,
                                 u64{1} << 63,
                                 ~u64{0}};
        switch (below(6)) {
            case 0: return pick(edges);
            case 1: return pick(edges) + below(17) - 8;
            case 2: return u64{1} << below(64);
            case 3: return below(0x100);
            case 4: return (*this)() >> below(64);
            default: return (*this)();
        }
    }

  private:
    u64 state_;
};

}  // namespace silicon::fuzz
