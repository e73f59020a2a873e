// Page tables that change under the guest: aliases, rights, accessed and dirty bits, execute-disable, demand paging.

#include "guest.h"

static uint8_t pages[4][4096] __attribute__((aligned(4096)));
static volatile uint64_t *const WINDOW = (uint64_t *)0x7000000000;
static volatile uint64_t last_error, last_address, faults;
static uint64_t *volatile repair;
static volatile uint64_t repaired;

void on_event(struct frame *frame) {
    if (frame->vector != 14) {
        print("unexpected vector\n");
        print_hex(frame->vector);
        end(2);
    }
    faults++;
    last_error = frame->error;
    last_address = read_cr2();
    *repair = repaired;
    invalidate(last_address);
}

static uint64_t expect(uint64_t *entry, uint64_t value) {
    __asm__ volatile("" ::: "memory");
    repair = entry;
    repaired = value;
    return faults;
}

int main(void) {
    load_idt();
    uint64_t *entry = entry_of((uint64_t)WINDOW), first = (uint64_t)pages[0], second = (uint64_t)pages[1];

    // an alias: the same bytes at two addresses, then other bytes after INVLPG
    *entry = first | PRESENT | WRITABLE;
    WINDOW[1] = 0x1111;
    CHECK(((uint64_t *)first)[1] == 0x1111);
    ((uint64_t *)second)[1] = 0x2222;
    *entry = second | PRESENT | WRITABLE;
    invalidate((uint64_t)WINDOW);
    CHECK(WINDOW[1] == 0x2222);

    // accessed and dirty
    *entry = first | PRESENT | WRITABLE;
    invalidate((uint64_t)WINDOW);
    (void)WINDOW[0];
    CHECK((*entry & (ACCESSED | DIRTY)) == ACCESSED);
    WINDOW[0] = 5;
    CHECK((*entry & (ACCESSED | DIRTY)) == (ACCESSED | DIRTY));

    // a page that is not present: a read, repaired, runs again
    *entry = 0;
    invalidate((uint64_t)WINDOW);
    uint64_t before = expect(entry, second | PRESENT);
    CHECK(WINDOW[1] == 0x2222);
    CHECK(faults == before + 1 && last_error == 0 && last_address == (uint64_t)&WINDOW[1]);

    // read-only, with CR0.WP: a supervisor's write faults
    uint64_t cr0;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %0, %%cr0" ::"r"(cr0 | 1 << 16));
    before = expect(entry, second | PRESENT | WRITABLE);
    WINDOW[2] = 0x3333;
    CHECK(faults == before + 1 && last_error == 3);
    CHECK(((uint64_t *)second)[2] == 0x3333);
    __asm__ volatile("mov %0, %%cr0" ::"r"(cr0));

    // without CR0.WP it does not
    *entry = second | PRESENT;
    invalidate((uint64_t)WINDOW);
    before = faults;
    WINDOW[3] = 0x4444;
    CHECK(faults == before && ((uint64_t *)second)[3] == 0x4444);

    // execute-disable, with EFER.NXE: a fetch faults, data do not
    write_msr(0xc0000080, read_msr(0xc0000080) | 1 << 11);
    pages[2][0] = 0xc3; // RET
    *entry = (uint64_t)pages[2] | PRESENT | NO_EXECUTE;
    invalidate((uint64_t)WINDOW);
    before = faults;
    CHECK(*(volatile uint8_t *)WINDOW == 0xc3 && faults == before);
    expect(entry, (uint64_t)pages[2] | PRESENT);
    ((void (*)(void))(uint64_t)WINDOW)();
    CHECK(faults == before + 1 && last_error == (1 | 16) && last_address == (uint64_t)WINDOW);

    // an access over a page edge whose second page is missing names that page
    uint64_t *next = entry_of((uint64_t)WINDOW + 4096);
    *entry = first | PRESENT | WRITABLE;
    *next = 0;
    invalidate((uint64_t)WINDOW);
    invalidate((uint64_t)WINDOW + 4096);
    pages[0][4095] = 0xaa;
    pages[1][0] = 0xbb;
    before = expect(next, second | PRESENT | WRITABLE);
    CHECK(*(volatile uint16_t *)((uint64_t)WINDOW + 4095) == 0xbbaa);
    CHECK(faults == before + 1 && last_address == (uint64_t)WINDOW + 4096);

    print("paging is right\n");
    return 0;
}
