/* The integer workloads of `make bench`. The same bytes run in the guest, on the host and in Unicorn, so that the ratios
 * mean something: no library, no vector instructions, no writable global data; `memory` is zeroed and large enough for `n`. */
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

static const u32 sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static u32 rotated(u32 x, int n) { return x >> n | x << (32 - n); }

/* FIPS 180-4, n blocks, each of the words that the last one left: rotations, additions, a table. */
u64 sha256(void *memory, u64 n) {
    u32 *w = memory, h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (u64 block = 0; block < n; block++) {
        for (int t = 0; t < 16; t++) w[t] = h[t & 7] + (u32)block + t;
        for (int t = 16; t < 64; t++) {
            u32 s0 = rotated(w[t - 15], 7) ^ rotated(w[t - 15], 18) ^ w[t - 15] >> 3;
            u32 s1 = rotated(w[t - 2], 17) ^ rotated(w[t - 2], 19) ^ w[t - 2] >> 10;
            w[t] = w[t - 16] + s0 + w[t - 7] + s1;
        }
        u32 a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], i = h[7];
        for (int t = 0; t < 64; t++) {
            u32 t1 = i + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + sha256_k[t] + w[t];
            u32 t2 = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
            i = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += i;
    }
    return (u64)h[0] << 32 | h[7];
}

static int by_value(const u32 *a, const u32 *b) { return (*a > *b) - (*a < *b); }

static void quick(u32 *a, long low, long high, int (*compare)(const u32 *, const u32 *)) {
    while (low < high) {
        u32 pivot = a[low + (high - low) / 2];
        long i = low, j = high;
        while (i <= j) {
            while (compare(&a[i], &pivot) < 0) i++;
            while (compare(&a[j], &pivot) > 0) j--;
            if (i <= j) {
                u32 kept = a[i];
                a[i++] = a[j], a[j--] = kept;
            }
        }
        quick(a, low, j, compare);
        low = i;
    }
}

/* Quicksort that compares through a function pointer: indirect calls. Returns a checksum. */
u64 quicksort(void *memory, u64 n) {
    u32 *a = memory, seed = 54321;
    u64 check = 0;
    for (u64 i = 0; i < n; i++) a[i] = seed = seed * 1664525u + 1013904223u;
    quick(a, 0, (long)n - 1, by_value);
    for (u64 i = 0; i < n; i++) check = check * 31 + a[i];
    return check;
}

enum { PUSH_1, ADD, DUP, SWAP, DECREMENT, LOOP, STOP };

/* A byte-code machine with a stack, n turns of a small program: a switch, an indirect jump each time. */
u64 bytecode(void *memory, u64 n) {
    u8 *program = memory;
    u64 *stack = (u64 *)(program + 64), *top = stack, counter = n;
    const u8 code[] = {PUSH_1, DUP, ADD, SWAP, ADD, PUSH_1, ADD, DECREMENT, LOOP, STOP};
    for (u64 i = 0; i < sizeof code; i++) program[i] = code[i];
    stack[0] = 1, stack[1] = 2, top = stack + 1;
    for (u8 *pc = program;;) switch (*pc++) {
            case PUSH_1: *++top = 1; break;
            case ADD: top--, *top += top[1]; break;
            case DUP: top++, *top = top[-1]; break;
            case SWAP: {
                u64 kept = top[0];
                top[0] = top[-1], top[-1] = kept;
                break;
            }
            case DECREMENT: counter--; break;
            case LOOP:
                if (counter) pc = program;
                break;
            default: return *top;
        }
}

/* Follows a chain of pointers through 4 MiB in a scattered order: one load after the other, each in another page. */
u64 chase(void *memory, u64 n) {
    u32 *next = memory;
    const u32 entries = 1u << 20;
    for (u32 i = 0; i < entries; i++) next[i] = (i * 1664525u + 1013904223u) % entries;
    u32 at = 0;
    for (u64 i = 0; i < n; i++) at = next[at];
    return at;
}

/* REP MOVSB of 1 MiB, n times: what bulk copies reach. An iteration counts as an instruction. */
u64 copy(void *memory, u64 n) {
    u8 *from = memory, *to = from + (2u << 20);
    const u64 bytes = 1u << 20;
    for (u64 i = 0; i < bytes; i++) from[i] = (u8)(i * 7);
    for (u64 i = 0; i < n; i++) {
        void *source = from, *target = to;
        u64 count = bytes;
        __asm__ volatile("rep movsb" : "+S"(source), "+D"(target), "+c"(count) : : "memory");
        from[i & 0xffff] ^= 1;
    }
    return to[12345] + ((u64)to[bytes - 1] << 8);
}
