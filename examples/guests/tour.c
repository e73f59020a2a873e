// A tour of a 64-bit processor: CPUID, a sieve, SHA-256, and a page fault that the program catches and repairs itself.
// Prints on COM1; ends with 0 when everything came out right (exit code 1), else with the number of the part that did not.

#include "tour.h"

static void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }

static uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void put(char c) {
    while (!(in8(0x3fd) & 0x20))
        ;
    out8(0x3f8, (uint8_t)c);
}

static void print(const char *text) {
    while (*text)
        put(*text++);
}

static void print_number(uint64_t n) {
    if (n >= 10)
        print_number(n / 10);
    put((char)('0' + n % 10));
}

static void print_hex(uint64_t n, int digits) {
    while (digits--)
        put("0123456789abcdef"[n >> 4 * digits & 15]);
}

// 1. Who are you?
static void show_processor(void) {
    uint32_t a, b, c, d;
    char name[13] = {0};
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
    for (int i = 0; i < 4; i++) {
        name[i] = (char)(b >> 8 * i);
        name[4 + i] = (char)(d >> 8 * i);
        name[8 + i] = (char)(c >> 8 * i);
    }
    print("processor: ");
    print(name);
    print(", in 64-bit mode\n");
}

// 2. A sieve: there are 78,498 primes below a million.
enum { SIEVE = 1000000 };
static uint8_t composite[SIEVE];

static int count_primes(void) {
    uint32_t count = 0, last = 0;
    for (uint32_t i = 2; i < SIEVE; i++) {
        if (composite[i])
            continue;
        count++;
        last = i;
        for (uint64_t j = (uint64_t)i * i; j < SIEVE; j += i)
            composite[j] = 1;
    }
    print("primes below a million: ");
    print_number(count);
    print(", the last is ");
    print_number(last);
    print("\n");
    return count == 78498;
}

// 3. SHA-256 of a million times "a", the long test vector of FIPS 180.
static int hash(void) {
    static const uint8_t expected[32] = {
        0xcd, 0xc7, 0x6e, 0x5c, 0x99, 0x14, 0xfb, 0x92, 0x81, 0xa1, 0xc7, 0xe2, 0x84, 0xd7, 0x3e, 0x67,
        0xf1, 0x80, 0x9a, 0x48, 0xa4, 0x97, 0x20, 0x0e, 0x04, 0x6d, 0x39, 0xcc, 0xc7, 0x11, 0x2c, 0xd0};
    uint8_t digest[32];
    for (uint32_t i = 0; i < SIEVE; i++)
        composite[i] = 'a';
    sha256(composite, SIEVE, digest);
    print("SHA-256 of a million a: ");
    for (int i = 0; i < 32; i++)
        print_hex(digest[i], 2);
    print("\n");
    for (int i = 0; i < 32; i++)
        if (digest[i] != expected[i])
            return 0;
    return 1;
}

// 4. An address far beyond memory: the first touch faults, the handler gives it a page, the instruction runs again.
struct gate {
    uint16_t offset_low, selector;
    uint8_t stack, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
} __attribute__((packed));

enum { PAGE_FAULT = 14, PRESENT = 1, WRITABLE = 2, INTERRUPT_GATE = 0x8e };
static struct gate idt[32];
static uint64_t spare[3][512] __attribute__((aligned(4096)));
static volatile uint8_t page[4096] __attribute__((aligned(4096)));
static volatile uint64_t *const FAR = (uint64_t *)0x123456789000;
static volatile int faults;

void on_page_fault(uint64_t error_code, uint64_t rip) {
    uint64_t address, cr3;
    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    faults++;
    print("page fault at ");
    print_hex(address, 12);
    print(error_code & 2 ? ", a write" : ", a read");
    print(rip ? "; now there is a page\n" : "\n");
    uint64_t *table = (uint64_t *)(cr3 & ~0xfffull);
    for (int level = 3; level > 0; level--) {
        uint64_t *entry = &table[address >> (12 + 9 * level) & 511];
        if (!(*entry & PRESENT))
            *entry = (uint64_t)spare[level - 1] | PRESENT | WRITABLE;
        table = (uint64_t *)(*entry & ~0xfffull);
    }
    table[address >> 12 & 511] = (uint64_t)page | PRESENT | WRITABLE;
}

static int catch_fault(void) {
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idtr = {sizeof idt - 1, (uint64_t)idt};
    uint64_t handler = (uint64_t)page_fault_entry;
    uint16_t cs;
    __asm__ volatile("mov %%cs, %0" : "=r"(cs));
    idt[PAGE_FAULT] = (struct gate){(uint16_t)handler, cs, 0, INTERRUPT_GATE, (uint16_t)(handler >> 16),
                                    (uint32_t)(handler >> 32), 0};
    __asm__ volatile("lidt %0" ::"m"(idtr));
    FAR[5] = 0x1122334455667788;
    return faults == 1 && FAR[5] == 0x1122334455667788 && ((volatile uint64_t *)page)[5] == 0x1122334455667788;
}

int tour(void) {
    show_processor();
    if (!count_primes())
        return 2;
    if (!hash())
        return 3;
    if (!catch_fault())
        return 4;
    print("all parts came out right\n");
    return 0;
}
