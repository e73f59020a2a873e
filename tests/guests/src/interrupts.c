// Exceptions, software interrupts, the timer by PIC and PIT, and HLT that waits for it.

#include "guest.h"

static volatile uint64_t ticks, last_vector, last_error, skip, events;

void on_event(struct frame *frame) {
    events++;
    last_vector = frame->vector;
    last_error = frame->error;
    frame->rip += skip;
    if (frame->vector == 32) {
        ticks++;
        out8(0x20, 0x20);
    }
}

static void start_timer(uint16_t hz) {
    uint16_t divisor = (uint16_t)(1193182 / hz);
    static const uint8_t words[] = {0x11, 32, 4, 1, 0x11, 40, 2, 1};
    for (int i = 0; i < 4; i++)
        out8(i ? 0x21 : 0x20, words[i]);
    for (int i = 0; i < 4; i++)
        out8(i ? 0xa1 : 0xa0, words[4 + i]);
    out8(0x21, 0xfe);
    out8(0xa1, 0xff);
    out8(0x43, 0x34);
    out8(0x40, (uint8_t)divisor);
    out8(0x40, (uint8_t)(divisor >> 8));
}

int main(void) {
    load_idt();

    skip = 2; // UD2
    __asm__ volatile("ud2");
    CHECK(last_vector == 6);
    __asm__ volatile("div %%cl" ::"c"(0), "a"(1) : "cc");
    CHECK(last_vector == 0);
    skip = 0;
    __asm__ volatile("int3");
    CHECK(last_vector == 3);
    __asm__ volatile("int $40");
    CHECK(last_vector == 40);
    skip = 2; // MOV DS, AX with a selector beyond the GDT
    __asm__ volatile("mov %w0, %%ds" ::"a"(0x1230));
    CHECK(last_vector == 13 && last_error == 0x1230);
    skip = 0;

    start_timer(1000);
    uint64_t before = events;
    for (volatile int i = 0; i < 100000; i++)
        ;
    CHECK(events == before); // IF is 0: nothing came
    __asm__ volatile("sti");
    while (ticks < 5)
        ; // spinning
    CHECK(last_vector == 32);
    while (ticks < 20)
        __asm__ volatile("hlt");
    __asm__ volatile("cli");
    uint64_t at = ticks;
    for (volatile int i = 0; i < 100000; i++)
        ;
    CHECK(ticks == at);

    // the shadow of STI: nothing between STI and the instruction after it, so this HLT is never missed
    for (int i = 0; i < 5; i++) {
        uint64_t was = ticks;
        __asm__ volatile("sti; hlt; cli");
        CHECK(ticks > was);
    }
    print("interrupts are right\n");
    return 0;
}
