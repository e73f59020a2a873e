// Code that changes: the instruction just ahead, a function called before, bytes through an alias, a page edge, by strings.

#include "guest.h"

static uint8_t code[8192] __attribute__((aligned(4096)));

void on_event(struct frame *frame) {
    print("unexpected vector\n");
    print_hex(frame->vector);
    end(2);
}

static uint32_t call(const void *at) { return ((uint32_t(*)(void))(uint64_t)at)(); }

// mov eax, value; ret
static void put_function(uint8_t *at, uint32_t value) {
    at[0] = 0xb8;
    __builtin_memcpy(at + 1, &value, 4);
    at[5] = 0xc3;
}

int main(void) {
    load_idt();
    volatile uint8_t *const live = code;

    for (uint32_t i = 0; i < 1000; i++) { // the same place, again and again
        put_function(code, i);
        CHECK(call(code) == i);
    }

    for (uint32_t i = 0; i < 100; i++) { // only the immediate, through another address of the same page
        uint64_t alias = 0x7000000000;
        *entry_of(alias) = (uint64_t)code | PRESENT | WRITABLE;
        *(volatile uint32_t *)(alias + 1) = 7000 + i;
        CHECK(call(code) == 7000 + i);
    }

    for (uint32_t i = 1; i < 6; i++) { // an instruction over the page edge: either side changes
        uint8_t *at = code + 4096 - i;
        put_function(at, 0x01020304);
        CHECK(call(at) == 0x01020304);
        live[4096 - i + 1] = 0x55;
        CHECK(call(at) == 0x01020355);
        live[4096 - i + 4] = 0x66;
        CHECK(call(at) == 0x66020355);
    }

    // the instruction just ahead: "mov byte [rip+X], 2" changes the immediate of "mov eax, 1" behind it
    static const uint8_t ahead[] = {0xc6, 0x05, 1, 0, 0, 0, 2, 0xb8, 1, 0, 0, 0, 0xc3};
    for (size_t i = 0; i < sizeof ahead; i++)
        live[64 + i] = ahead[i];
    CHECK(call(code + 64) == 2);

    // a loop that changes its own body: it adds 1, then 2, then 3, …
    static const uint8_t loop[] = {
        0x31, 0xc0,                   // xor eax, eax
        0xb9, 10, 0, 0, 0,            // mov ecx, 10
        0x83, 0xc0, 1,                // L: add eax, 1
        0xfe, 0x05, 0xf9, 0xff, 0xff, 0xff, // inc byte [rip - 7]: the 1
        0xff, 0xc9,                   // dec ecx
        0x75, 0xf3,                   // jnz L
        0xc3,
    };
    for (size_t i = 0; i < sizeof loop; i++)
        live[128 + i] = loop[i];
    CHECK(call(code + 128) == 55);

    // a whole function copied over another by REP MOVSB, after that ran
    uint8_t source[6];
    put_function(code + 256, 1);
    CHECK(call(code + 256) == 1);
    put_function(source, 2);
    void *to = code + 256;
    const void *from = source;
    uint64_t count = sizeof source;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count)::"memory");
    CHECK(call(code + 256) == 2);

    print("changing code is right\n");
    return 0;
}
