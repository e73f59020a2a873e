/* The workloads of `make bench` with SSE2, as compilers use it for `double` and for copies. Otherwise as loops.c. */
typedef unsigned long u64;
typedef unsigned char u8;
typedef double two_doubles __attribute__((vector_size(16)));

enum { SIDE = 64 };

static u64 bits(double value) {
    u64 as_bits;
    __builtin_memcpy(&as_bits, &value, sizeof as_bits);
    return as_bits;
}

/* The product of two 64 by 64 matrices of doubles, n times: loads, multiplications, additions. Returns a checksum. */
u64 matmul(void *memory, u64 n) {
    double *a = memory, *b = a + SIDE * SIDE, *c = b + SIDE * SIDE, sum = 0;
    for (int i = 0; i < SIDE * SIDE; i++) a[i] = (i % 17) * 0.5, b[i] = (i % 13) * 0.25 - 1;
    for (u64 round = 0; round < n; round++) {
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                double cell = 0;
                for (int k = 0; k < SIDE; k++) cell += a[i * SIDE + k] * b[k * SIDE + j];
                c[i * SIDE + j] = cell;
            }
        a[round % (SIDE * SIDE)] += c[(round * 31) % (SIDE * SIDE)] * 0.001;
    }
    for (int i = 0; i < SIDE * SIDE; i++) sum += c[i];
    return bits(sum);
}

/* How many steps n by n points of the Mandelbrot set take, in doubles: arithmetic in registers and one compare. */
u64 mandelbrot(void *memory, u64 n) {
    u64 steps = 0;
    (void)memory;
    for (u64 row = 0; row < n; row++)
        for (u64 column = 0; column < n; column++) {
            const double cx = 3.0 * (double)(long)column / (double)(long)n - 2.0, cy = 2.0 * (double)(long)row / (double)(long)n - 1.0;
            double x = 0, y = 0;
            for (int i = 0; i < 200 && x * x + y * y < 4.0; i++, steps++) {
                const double next = x * x - y * y + cx;
                y = 2 * x * y + cy, x = next;
            }
        }
    return steps;
}

/* Copies of 1 MiB in pieces of 16 bytes, n times: what a library's memcpy reaches. */
u64 vector_copy(void *memory, u64 n) {
    u8 *from = memory, *to = from + (2u << 20);
    const u64 size = 1u << 20;
    for (u64 i = 0; i < size; i++) from[i] = (u8)(i * 11);
    for (u64 round = 0; round < n; round++) {
        const two_doubles *source = (const two_doubles *)from;
        two_doubles *target = (two_doubles *)to;
        for (u64 i = 0; i < size / 16; i++) {
            target[i] = source[i];
            __asm__ volatile("" : : : "memory");
        }
        from[round & 0xffff] ^= 1;
    }
    return to[12345] + ((u64)to[size - 1] << 8);
}
