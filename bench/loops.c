/* The integer loops of `make bench`. The same bytes run in the guest and on the host, so that the ratio means something:
 * no library, no vector instructions, no global data; `memory` is zeroed and large enough for `n`. */
typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned char u8;

/* Adds, multiplies, shifts and a branch, all in registers. */
u64 sum_loop(void *memory, u64 n) {
    u64 sum = 0, x = 0x9e3779b97f4a7c15ul;
    (void)memory;
    for (u64 i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if (x & 1) sum += x;
        else sum -= i * 3;
    }
    return sum;
}

/* Byte stores with a stride, byte loads in order: primes below n. */
u64 sieve(void *memory, u64 n) {
    u8 *composite = memory;
    u64 primes = 0;
    for (u64 i = 2; i < n; i++) {
        if (composite[i]) continue;
        primes++;
        for (u64 j = i * i; j < n; j += i) composite[j] = 1;
    }
    for (u64 i = 0; i < n; i++) composite[i] = 0;
    return primes;
}

/* Calls, returns, pushes and pops. */
u64 fib(void *memory, u64 n) {
    return n < 2 ? n : fib(memory, n - 1) + fib(memory, n - 2);
}

/* Shell sort of n 32-bit numbers: loads, compares, stores, branches that are hard to foretell. Returns a checksum. */
u64 sort(void *memory, u64 n) {
    u32 *a = memory;
    u32 seed = 12345;
    u64 check = 0;
    for (u64 i = 0; i < n; i++) a[i] = seed = seed * 1664525u + 1013904223u;
    for (u64 gap = n / 2; gap > 0; gap /= 2)
        for (u64 i = gap; i < n; i++) {
            u32 v = a[i];
            u64 j = i;
            for (; j >= gap && a[j - gap] > v; j -= gap) a[j] = a[j - gap];
            a[j] = v;
        }
    for (u64 i = 0; i < n; i++) check = check * 31 + a[i];
    return check;
}
