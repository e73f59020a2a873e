// Echoes COM1 by its receive interrupt, in capitals, until a dot comes. Between bytes it halts.

#include "guest.h"

static volatile int done;

void on_event(struct frame *frame) {
    CHECK(frame->vector == 36);
    CHECK((in8(0x3fa) & 0x0f) == 0x04);
    while (in8(0x3fd) & 1) {
        uint8_t c = in8(0x3f8);
        done |= c == '.';
        out8(0x3f8, c >= 'a' && c <= 'z' ? (uint8_t)(c - 32) : c);
    }
    out8(0x20, 0x20);
}

int main(void) {
    load_idt();
    static const uint8_t words[] = {0x11, 32, 4, 1};
    for (int i = 0; i < 4; i++)
        out8(i ? 0x21 : 0x20, words[i]);
    out8(0x21, (uint8_t)~(1 << 4));
    out8(0x3fc, 0x0b);
    out8(0x3f9, 0x01);
    while (!done)
        __asm__ volatile("sti; hlt; cli");
    return 0;
}
