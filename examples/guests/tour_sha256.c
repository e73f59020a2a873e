// SHA-256 in integer code. FIPS 180-4, section 6.2.

#include "tour.h"

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

// The first 32 bits of the fraction of a prime's square or cube root, by bisection: root * 2^32 as an integer.
static uint32_t root_fraction(uint32_t prime, int power) {
    unsigned __int128 target = (unsigned __int128)prime << 32 * power;
    uint64_t low = 0, high = (uint64_t)1 << 37;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        unsigned __int128 raised = (unsigned __int128)middle * middle;
        if (power == 3)
            raised *= middle;
        if (raised > target)
            high = middle;
        else
            low = middle;
    }
    return (uint32_t)low;
}

static void constants(uint32_t k[64], uint32_t start[8]) {
    int found = 0;
    for (uint32_t n = 2; found < 64; n++) {
        int prime = 1;
        for (uint32_t d = 2; d * d <= n; d++)
            prime &= n % d != 0;
        if (!prime)
            continue;
        if (found < 8)
            start[found] = root_fraction(n, 2);
        k[found++] = root_fraction(n, 3);
    }
}

static void compress(uint32_t state[8], const uint32_t k[64], const uint8_t block[64]) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    for (int i = 0; i < 8; i++)
        v[i] = state[i];
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        for (int j = 7; j > 0; j--)
            v[j] = v[j - 1];
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

void sha256(const uint8_t *data, size_t size, uint8_t digest[32]) {
    static uint32_t k[64], start[8];
    uint32_t state[8];
    uint8_t block[64];
    if (!k[0])
        constants(k, start);
    for (int i = 0; i < 8; i++)
        state[i] = start[i];
    size_t done = 0;
    for (; size - done >= 64; done += 64)
        compress(state, k, data + done);
    size_t rest = size - done;
    for (size_t i = 0; i < 64; i++)
        block[i] = i < rest ? data[done + i] : i == rest ? 0x80 : 0;
    if (rest >= 56) {
        compress(state, k, block);
        for (size_t i = 0; i < 64; i++)
            block[i] = 0;
    }
    for (int i = 0; i < 8; i++)
        block[63 - i] = (uint8_t)((uint64_t)size * 8 >> 8 * i);
    compress(state, k, block);
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
