// What the test guests share: port I/O, printing, checks, an IDT, page tables.

#pragma once

#include <stddef.h>
#include <stdint.h>

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static inline uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline void print(const char *text) {
    while (*text)
        out8(0x3f8, (uint8_t)*text++);
}
static inline void print_hex(uint64_t n) {
    for (int shift = 60; shift >= 0; shift -= 4)
        out8(0x3f8, (uint8_t)"0123456789abcdef"[n >> shift & 15]);
    print("\n");
}
static inline _Noreturn void end(uint8_t value) {
    for (;;)
        out8(0xf4, value);
}

// A check that fails says where, and ends the guest with 1.
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            print("failed: " #condition "\n");                                                                         \
            end(1);                                                                                                    \
        }                                                                                                              \
    } while (0)

// Exceptions and interrupts: entry.S pushes this and calls on_event().
struct frame {
    uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
void on_event(struct frame *frame);
void load_idt(void);
extern uint64_t stubs[48];

// Page tables: the entry that maps a linear address, made of small pages where it has to be.
enum { PRESENT = 1, WRITABLE = 2, USER = 4, ACCESSED = 32, DIRTY = 64, LARGE = 128 };
#define NO_EXECUTE (1ull << 63)
uint64_t *entry_of(uint64_t address);
static inline void invalidate(uint64_t address) { __asm__ volatile("invlpg (%0)" ::"r"(address) : "memory"); }
static inline uint64_t read_cr2(void) {
    uint64_t value;
    __asm__ volatile("mov %%cr2, %0" : "=r"(value));
    return value;
}
static inline uint64_t read_msr(uint32_t msr) {
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}
static inline void write_msr(uint32_t msr, uint64_t value) {
    __asm__ volatile("wrmsr" ::"a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr));
}
