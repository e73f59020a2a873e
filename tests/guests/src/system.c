// A small system on the PC of `hv boot`: serial port, APIC timer, a second processor and messages between the two, a
// virtio device with its queue and MSI-X, and the end by ACPI. What works is printed, a line each.
#include <stdint.h>

enum { COM1 = 0x3f8, PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc, ACPI_CONTROL = 0x604 };
enum { TIMER = 0x40, QUESTION = 0x50, ANSWER = 0x51, MESSAGE = 0x60 };
enum { SVR = 0xf0, ICR = 0x300, ICR_HIGH = 0x310, LVT_TIMER = 0x320, INITIAL = 0x380, DIVIDE = 0x3e0 };
enum { ENTROPY_SLOT = 2, START_PAGE = 8, BYTES = 16 };

volatile uint32_t timer_ticks, answers, messages, second_runs;
void on_timer(void), on_answer(void), on_message(void), on_question(void);
extern const uint8_t trampoline[], trampoline_end[];

static void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static void out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
static uint32_t in32(uint16_t port) {
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void print(const char *text) {
    while (*text)
        out8(COM1, (uint8_t)*text++);
}

static volatile uint32_t *local(uint32_t offset) { return (volatile uint32_t *)(0xfee00000 + offset); }

static void wait_for(volatile uint32_t *what, uint32_t least) {
    for (;;) {
        __asm__ volatile("cli");
        if (*what >= least)
            break;
        __asm__ volatile("sti; hlt");
    }
    __asm__ volatile("sti");
}

static struct gate {
    uint16_t low, selector, type, high;
} idt[256];
struct __attribute__((packed)) table {
    uint16_t limit;
    const void *base;
};
const struct table idt_pointer = {sizeof idt - 1, idt};

static void set_gate(unsigned vector, void (*handler)(void)) {
    uint32_t at = (uint32_t)handler;
    idt[vector] = (struct gate){(uint16_t)at, 8, 0x8e00, (uint16_t)(at >> 16)};
}

static void send(uint32_t target, uint32_t command) {
    *local(ICR_HIGH) = target << 24;
    *local(ICR) = command;
}

void second_main(void) {
    *local(SVR) = 0x1ff;
    second_runs = 1;
    for (;;)
        __asm__ volatile("sti; hlt");
}

static void start_second(void) {
    volatile uint8_t *to = (volatile uint8_t *)(START_PAGE << 12);
    for (const uint8_t *from = trampoline; from < trampoline_end;)
        *to++ = *from++;
    send(1, 0x4500);              // INIT
    send(1, 0x4600 | START_PAGE); // start-up
    while (!second_runs)
        __asm__ volatile("pause");
}

// Virtual I/O Device 1.2, "Virtio Over PCI Bus", "Split Virtqueues", "Entropy Device".
static struct __attribute__((aligned(16))) {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
} descriptors[4];
static volatile struct __attribute__((aligned(2))) {
    uint16_t flags, index, ring[4];
} available;
static volatile struct __attribute__((aligned(4))) {
    uint16_t flags, index;
    struct {
        uint32_t id, length;
    } ring[4];
} used;
static volatile uint8_t bytes[BYTES];

static uint32_t config(uint32_t offset) {
    out32(PCI_ADDRESS, 0x80000000 | ENTROPY_SLOT << 11 | (offset & ~3u));
    return in32(PCI_DATA);
}

static void set_config(uint32_t offset, uint32_t value) {
    config(offset);
    out32(PCI_DATA, value);
}

static void switch_msix_on(void) {
    for (uint32_t at = config(0x34) & 0xff; at; at = config(at) >> 8 & 0xff)
        if ((config(at) & 0xff) == 0x11)
            set_config(at, config(at) | 1u << 31);
}

static uint32_t fill(void) {
    set_config(4, config(4) | 6); // memory, bus master
    const uint32_t bar = config(0x10) & ~15u;
    volatile uint8_t *common = (volatile uint8_t *)bar;
    volatile uint32_t *vectors = (volatile uint32_t *)(bar + 0x4000);
    switch_msix_on();
    vectors[0] = 0xfee00000, vectors[1] = 0, vectors[2] = MESSAGE, vectors[3] = 0;
    common[0x14] = 0;
    common[0x14] = 1;
    common[0x14] = 3;
    *(volatile uint32_t *)(common + 8) = 1;
    *(volatile uint32_t *)(common + 12) = 1; // VERSION_1
    common[0x14] = 11;
    *(volatile uint16_t *)(common + 0x16) = 0; // the queue
    *(volatile uint16_t *)(common + 0x18) = 4;
    *(volatile uint16_t *)(common + 0x1a) = 0;
    *(volatile uint32_t *)(common + 0x20) = (uint32_t)descriptors;
    *(volatile uint32_t *)(common + 0x28) = (uint32_t)&available;
    *(volatile uint32_t *)(common + 0x30) = (uint32_t)&used;
    *(volatile uint16_t *)(common + 0x1c) = 1;
    common[0x14] = 15;
    descriptors[0].address = (uint32_t)bytes, descriptors[0].length = BYTES, descriptors[0].flags = 2;
    available.index = 1;
    *(volatile uint16_t *)(bar + 0x3000) = 0;
    wait_for(&messages, 1);
    return used.index == 1 ? used.ring[0].length : 0;
}

int main(void) {
    print("serial\n");
    set_gate(TIMER, on_timer), set_gate(QUESTION, on_question), set_gate(ANSWER, on_answer), set_gate(MESSAGE, on_message);
    __asm__ volatile("lidt %0" ::"m"(idt_pointer));
    out8(0x21, 0xff), out8(0xa1, 0xff);
    *local(SVR) = 0x1ff;
    *local(DIVIDE) = 11; // by 1: 25 MHz
    *local(LVT_TIMER) = 1 << 17 | TIMER;
    *local(INITIAL) = 250000;
    wait_for(&timer_ticks, 3);
    *local(LVT_TIMER) = 1 << 16;
    print("timer\n");
    start_second();
    print("second processor\n");
    send(1, 0x4000 | QUESTION);
    wait_for(&answers, 1);
    print("messages both ways\n");
    if (fill() == BYTES)
        print("virtio\n");
    out16(ACPI_CONTROL, 5 << 10 | 1 << 13);
    for (;;)
        __asm__ volatile("hlt");
}
