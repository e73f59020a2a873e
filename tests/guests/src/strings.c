// String instructions in bulk: every width, both directions, overlaps, page edges, and a fault in the middle.

#include "guest.h"

enum { SIZE = 64 * 1024 };
static uint8_t a[SIZE + 64], b[SIZE + 64];
static volatile uint64_t faults, fault_rcx, fault_rdi;
static const uint64_t HOLE = 0x7000000000;

void on_event(struct frame *frame) {
    if (frame->vector != 14)
        end(2);
    faults++;
    fault_rcx = frame->rcx;
    fault_rdi = frame->rdi;
    *entry_of(read_cr2()) = ((uint64_t)a + 8191 & ~4095ull) | PRESENT | WRITABLE;
    invalidate(read_cr2());
}

static void fill(void) {
    uint32_t x = 12345;
    for (int i = 0; i < SIZE + 64; i++) {
        x = x * 1103515245 + 12345;
        a[i] = (uint8_t)(x >> 16);
        b[i] = (uint8_t)~a[i];
    }
}

#define MOVE(suffix, to, from, count)                                                                                  \
    do {                                                                                                               \
        void *d = (to);                                                                                                \
        const void *s = (from);                                                                                        \
        uint64_t c = (count);                                                                                          \
        __asm__ volatile("rep movs" suffix : "+D"(d), "+S"(s), "+c"(c)::"memory");                                     \
        CHECK(c == 0);                                                                                                 \
    } while (0)

static int same(const uint8_t *x, const uint8_t *y, int n) {
    while (n--)
        if (*x++ != *y++)
            return 0;
    return 1;
}

int main(void) {
    load_idt();

    fill();
    MOVE("b", b + 3, a + 5, SIZE);
    CHECK(same(b + 3, a + 5, SIZE));
    fill();
    MOVE("w", b + 1, a, SIZE / 2);
    CHECK(same(b + 1, a, SIZE));
    fill();
    MOVE("l", b, a + 2, SIZE / 4);
    CHECK(same(b, a + 2, SIZE));
    fill();
    MOVE("q", b + 7, a + 1, SIZE / 8);
    CHECK(same(b + 7, a + 1, SIZE));

    // forward overlap repeats a pattern: the definition is one element after the other
    fill();
    a[0] = 1, a[1] = 2, a[2] = 3;
    MOVE("b", a + 3, a, 3000);
    for (int i = 0; i < 3003; i++)
        CHECK(a[i] == i % 3 + 1);

    // backwards
    fill();
    __asm__ volatile("std");
    MOVE("q", b + SIZE - 8, a + SIZE - 8, SIZE / 8);
    __asm__ volatile("cld");
    CHECK(same(b, a, SIZE));

    // STOS of each width, with the bytes around untouched
    for (int width = 1; width <= 8; width *= 2) {
        fill();
        uint8_t before = b[9], after = b[10 + SIZE / 2];
        void *d = b + 10;
        uint64_t c = SIZE / 2 / width, value = 0x8877665544332211;
        if (width == 1)
            __asm__ volatile("rep stosb" : "+D"(d), "+c"(c) : "a"(value) : "memory");
        else if (width == 2)
            __asm__ volatile("rep stosw" : "+D"(d), "+c"(c) : "a"(value) : "memory");
        else if (width == 4)
            __asm__ volatile("rep stosl" : "+D"(d), "+c"(c) : "a"(value) : "memory");
        else
            __asm__ volatile("rep stosq" : "+D"(d), "+c"(c) : "a"(value) : "memory");
        CHECK(b[9] == before && b[10 + SIZE / 2] == after && d == b + 10 + SIZE / 2 && c == 0);
        for (int i = 0; i < SIZE / 2; i++)
            CHECK(b[10 + i] == (uint8_t)(0x11 * (i % width + 1)));
    }

    // SCAS and CMPS stop behind the element that decides
    for (int i = 0; i < SIZE; i++)
        a[i] = b[i] = 7;
    a[40000] = 9;
    const void *d = a, *s = b;
    uint64_t c = SIZE;
    __asm__ volatile("repne scasb" : "+D"(d), "+c"(c) : "a"(9) : "cc", "memory");
    CHECK(d == a + 40001 && c == SIZE - 40001);
    d = a, c = SIZE;
    __asm__ volatile("repe cmpsb" : "+D"(d), "+S"(s), "+c"(c)::"cc", "memory");
    CHECK(d == a + 40001 && s == b + 40001 && c == SIZE - 40001);
    uint8_t zero;
    d = a, s = b, c = 40000;
    __asm__ volatile("repe cmpsb; sete %0" : "=qm"(zero), "+D"(d), "+S"(s), "+c"(c)::"cc", "memory");
    CHECK(zero && c == 0);

    // a fault in the middle: what was done is done, the rest follows after the repair
    *entry_of(HOLE) = ((uint64_t)b + 4095 & ~4095ull) | PRESENT | WRITABLE;
    *entry_of(HOLE + 4096) = 0;
    void *hole = (void *)(HOLE + 4000);
    c = 200;
    __asm__ volatile("rep stosb" : "+D"(hole), "+c"(c) : "a"(0x5a) : "memory");
    CHECK(faults == 1 && fault_rcx == 104 && fault_rdi == HOLE + 4096);
    CHECK(c == 0 && (uint64_t)hole == HOLE + 4200);

    print("strings are right\n");
    return 0;
}
