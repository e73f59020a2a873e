// The IDT and the page-table walk of guest.h.

#include "guest.h"

struct gate {
    uint16_t offset_low, selector;
    uint8_t stack, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
} __attribute__((packed));

static struct gate idt[48];

void load_idt(void) {
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idtr = {sizeof idt - 1, (uint64_t)idt};
    uint16_t cs;
    __asm__ volatile("mov %%cs, %0" : "=r"(cs));
    for (int i = 0; i < 48; i++)
        idt[i] = (struct gate){(uint16_t)stubs[i], cs, 0, 0x8e, (uint16_t)(stubs[i] >> 16), (uint32_t)(stubs[i] >> 32), 0};
    __asm__ volatile("lidt %0" ::"m"(idtr));
}

static uint64_t spare[16][512] __attribute__((aligned(4096)));
static int used;

uint64_t *entry_of(uint64_t address) {
    uint64_t cr3;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    uint64_t *table = (uint64_t *)(cr3 & ~0xfffull);
    for (int shift = 39; shift > 12; shift -= 9) {
        uint64_t *entry = &table[address >> shift & 511];
        if (!(*entry & PRESENT)) {
            *entry = (uint64_t)spare[used++] | PRESENT | WRITABLE | USER;
        } else if (*entry & LARGE) {
            uint64_t *small = spare[used++], start = *entry & 0xfffffffffe00000ull;
            for (int i = 0; i < 512; i++)
                small[i] = start + 4096ull * i | PRESENT | WRITABLE;
            *entry = (uint64_t)small | PRESENT | WRITABLE | USER;
        }
        table = (uint64_t *)(*entry & 0xffffffffff000ull);
    }
    return &table[address >> 12 & 511];
}
