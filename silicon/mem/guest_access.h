// The only place where the bytes of guest memory are touched: relaxed atomics by width, and host atomics for LOCK.
//
// A guest may use any alignment. `volatile` with alignment 1 makes the compiler emit one access of the full width,
// which on every host of ours is single-copy atomic where the guest's would be. (16 bytes are promised to no guest.)
#pragma once

#include <cstring>

#include "silicon/types.h"

namespace silicon {

template <class T>
struct Unaligned;
#define SILICON_UNALIGNED(T)                                                    \
    template <>                                                                 \
    struct Unaligned<T> {                                                       \
        using type __attribute__((may_alias, aligned(1))) = T;                  \
    };
SILICON_UNALIGNED(u8)
SILICON_UNALIGNED(u16)
SILICON_UNALIGNED(u32)
SILICON_UNALIGNED(u64)
SILICON_UNALIGNED(Vec)
#undef SILICON_UNALIGNED

template <class T>
SILICON_INLINE T load_host(const void* place) {
    return *static_cast<const volatile typename Unaligned<T>::type*>(place);
}

template <class T>
SILICON_INLINE void store_host(void* place, T value) {
    *static_cast<volatile typename Unaligned<T>::type*>(place) = value;
}

// Compare and swap at any alignment, sequentially consistent. On failure `expected` becomes what was there.
template <class T>
SILICON_INLINE bool swap_host(void* place, T& expected, T desired) {
    return __atomic_compare_exchange_n(static_cast<T*>(place), &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

template <class T>
SILICON_INLINE T exchange_host(void* place, T desired) {
    return __atomic_exchange_n(static_cast<T*>(place), desired, __ATOMIC_SEQ_CST);
}

// The 8- and 16-byte pair of CMPXCHG8B and CMPXCHG16B.
SILICON_INLINE bool pair_swap(void* place, u64& expected, u64 desired) { return swap_host<u64>(place, expected, desired); }
SILICON_INLINE bool pair_swap(void* place, u128& expected, u128 desired) {
#if defined(__x86_64__)
    u64 low = static_cast<u64>(expected), high = static_cast<u64>(expected >> 64);
    bool same;
    asm volatile("lock cmpxchg16b %1"
                 : "=@ccz"(same), "+m"(*static_cast<u128*>(place)), "+a"(low), "+d"(high)
                 : "b"(static_cast<u64>(desired)), "c"(static_cast<u64>(desired >> 64))
                 : "memory");
    expected = u128{high} << 64 | low;
    return same;
#else
    return __atomic_compare_exchange_n(static_cast<u128*>(place), &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
#endif
}

}  // namespace silicon
