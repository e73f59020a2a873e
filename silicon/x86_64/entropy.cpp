#include "silicon/x86_64/entropy.h"

#include <unistd.h>
#if defined(__APPLE__)
#include <sys/random.h>
#endif

#include <utility>

namespace silicon::x86 {

std::optional<u64> Entropy::next() {
    if (left_ == 0) {
        if (getentropy(numbers_, sizeof numbers_) != 0) return std::nullopt;
        left_ = capacity;
    }
    return std::exchange(numbers_[--left_], 0);  // one that was given out is not kept
}

}  // namespace silicon::x86
