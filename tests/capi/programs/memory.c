/* Guest memory: what may be mapped, the rights of the guest, what a refused access tells, and changes under a running
 * guest. */
#include <pthread.h>
#include <sched.h>

#include "guest.h"

GUEST(touch, 16, "mov al, [0x3000]; mov [0x3000], bl; hlt");
GUEST(writer, 16, "0: inc byte ptr [0x3000]; jmp 0b");

/* Bits of the qualification. Intel SDM vol. 3, "Exit Qualification for EPT Violations". */
enum { READ = 1, WRITE = 2, FETCH = 4, MAY_READ = 8, MAY_WRITE = 16, MAY_FETCH = 32, LINEAR = 0x80, NO_WALK = 0x100 };
enum { DATA = 0x3000 };

static void allocated_memory(void) {
    void *memory = NULL;
    REFUSED(HV_BAD_ARGUMENT, hv_vm_allocate(&memory, 0, HV_ALLOCATE_DEFAULT));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_allocate(&memory, PAGE + 1, HV_ALLOCATE_DEFAULT));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_allocate(&memory, PAGE, 1));
    CHECK(hv_vm_allocate(&memory, 4 * PAGE, HV_ALLOCATE_DEFAULT));
    uint8_t *bytes = (uint8_t *)memory;
    SAME((uintptr_t)memory % PAGE, 0);
    for (int n = 0; n < 4 * PAGE; ++n) EXPECT(bytes[n] == 0);
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    CHECK(hv_vm_map(memory, 0, 4 * PAGE, RWX));
    bytes[CODE] = HLT;
    const hv_vcpuid_t vcpu = make_real_mode_vcpu();
    RUN_TO(vcpu, VMX_REASON_HLT);
    REFUSED(HV_BAD_ARGUMENT, hv_vm_deallocate(bytes + PAGE, PAGE)); /* only whole, as it was given */
    REFUSED(HV_BAD_ARGUMENT, hv_vm_deallocate(memory, PAGE));
    CHECK(hv_vm_unmap(0, 4 * PAGE));
    CHECK(hv_vm_deallocate(memory, 4 * PAGE));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_deallocate(memory, 4 * PAGE));
    CHECK(hv_vcpu_destroy(vcpu));
    CHECK(hv_vm_destroy());
}

static void what_map_takes(void) {
    uint8_t *memory = host_memory(4 * PAGE);
    REFUSED(HV_NO_DEVICE, hv_vm_map(memory, 0, PAGE, RWX));
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_map(memory + 1, 0, PAGE, RWX));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_map(memory, 0x800, PAGE, RWX));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_map(memory, 0, PAGE - 1, RWX));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_map(memory, 0, 0, RWX));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_map(memory, 0, PAGE, 1U << 20));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_map(NULL, 0, PAGE, RWX));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_map(memory, UINT64_MAX - PAGE + 1, PAGE, RWX));
    CHECK(hv_vm_map(memory, PAGE, 2 * PAGE, RWX));
    REFUSED(HV_ERROR, hv_vm_map(memory, 0, 2 * PAGE, RWX)); /* overlaps at its end */
    REFUSED(HV_ERROR, hv_vm_map(memory, 2 * PAGE, 2 * PAGE, RWX));
    CHECK(hv_vm_map(memory, 0, PAGE, RWX)); /* beside it, and the same host memory twice */
    CHECK(hv_vm_map(memory, 3 * PAGE, PAGE, RWX));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_unmap(0x10, PAGE));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_protect(0, PAGE + 8, HV_MEMORY_READ));
    EXPECT(hv_vm_unmap(16 * PAGE, PAGE) != HV_SUCCESS);
    EXPECT(hv_vm_protect(16 * PAGE, PAGE, HV_MEMORY_READ) != HV_SUCCESS);
    CHECK(hv_vm_unmap(2 * PAGE, PAGE)); /* a part of what one call mapped */
    CHECK(hv_vm_map(memory, 2 * PAGE, PAGE, RWX));
    EXPECT(mprotect(memory, PAGE, PROT_READ) == 0);
    REFUSED(HV_DENIED, hv_vm_map(memory, 8 * PAGE, PAGE, RWX)); /* the guest may not write where the host cannot */
    CHECK(hv_vm_map(memory, 8 * PAGE, PAGE, HV_MEMORY_READ | HV_MEMORY_EXEC));
    CHECK(hv_vm_destroy());
    munmap(memory, 4 * PAGE);
}

/* RIP is on the instruction, and the qualification has these bits (and no walk was on its way). */
static void violates(hv_vcpuid_t vcpu, uint64_t bits, uint64_t rip) {
    RUN_TO(vcpu, VMX_REASON_EPT_VIOLATION);
    SAME(vmcs(vcpu, VMCS_RO_EXIT_QUALIFIC) & 0x1bf, bits | LINEAR | NO_WALK);
    SAME(vmcs(vcpu, VMCS_GUEST_PHYSICAL_ADDRESS) & ~0xfffULL, bits & FETCH ? (uint64_t)CODE : (uint64_t)DATA);
    SAME(vmcs(vcpu, VMCS_RO_GUEST_LIN_ADDR), vmcs(vcpu, VMCS_GUEST_PHYSICAL_ADDRESS));
    SAME(reg(vcpu, HV_X86_RIP), rip);
}

/* Rights are taken away and given back; the instruction goes again, without moving RIP. */
static void rights_of_a_page(void) {
    const struct machine m = make_machine();
    PLACE(m.ram, CODE, touch);
    m.ram[DATA] = 0x11;
    set_reg(m.vcpu, HV_X86_RBX, 0x22);
    CHECK(hv_vm_protect(CODE, PAGE, HV_MEMORY_READ));
    violates(m.vcpu, FETCH | MAY_READ, CODE);
    CHECK(hv_vm_protect(CODE, PAGE, HV_MEMORY_READ | HV_MEMORY_EXEC));
    CHECK(hv_vm_protect(DATA, PAGE, 0));
    violates(m.vcpu, READ, CODE);
    CHECK(hv_vm_protect(DATA, PAGE, HV_MEMORY_READ | HV_MEMORY_EXEC));
    violates(m.vcpu, WRITE | MAY_READ | MAY_FETCH, CODE + 3);
    SAME(reg(m.vcpu, HV_X86_RAX) & 0xff, 0x11);
    SAME(m.ram[DATA], 0x11);
    CHECK(hv_vm_protect(DATA, PAGE, RWX));
    RUN_TO(m.vcpu, VMX_REASON_HLT);
    SAME(m.ram[DATA], 0x22);
    CHECK(hv_vm_unmap(DATA, PAGE));
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    violates(m.vcpu, READ, CODE);
    end_machine(m);
}

/* With paging an access has two addresses; and one by the page walk itself is told apart. */
GUEST(through_tables, 64, "mov rax, [0x3010]; hlt");

static void addresses_behind_paging(void) {
    const struct machine m = make_machine();
    PLACE(m.ram, CODE, through_tables);
    long_mode(m.vcpu, m.ram);
    store64(m.ram + TABLES + 2 * PAGE, (TABLES + 3 * PAGE) | PRESENT_WRITABLE_USER); /* pages of 4 KiB: */
    store64(m.ram + TABLES + 3 * PAGE + 8 * (CODE / PAGE), CODE | PRESENT_WRITABLE_USER);
    store64(m.ram + TABLES + 3 * PAGE + 8 * (DATA / PAGE), 0x20000 | PRESENT_WRITABLE_USER);
    RUN_TO(m.vcpu, VMX_REASON_EPT_VIOLATION);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC) & 0x1bf, READ | LINEAR | NO_WALK);
    SAME(vmcs(m.vcpu, VMCS_RO_GUEST_LIN_ADDR), DATA + 0x10);
    SAME(vmcs(m.vcpu, VMCS_GUEST_PHYSICAL_ADDRESS), 0x20010);
    CHECK(hv_vm_unmap(TABLES + 3 * PAGE, PAGE));
    CHECK(hv_vcpu_invalidate_tlb(m.vcpu));
    RUN_TO(m.vcpu, VMX_REASON_EPT_VIOLATION);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC) & (LINEAR | NO_WALK | READ), LINEAR | READ);
    SAME(vmcs(m.vcpu, VMCS_GUEST_PHYSICAL_ADDRESS),
         TABLES + 3 * PAGE + 8 * (CODE / PAGE)); /* the entry that was read */
    end_machine(m);
}

/* Dirty logging as clients do it: read-only, one exit a page, then writable. */
static void dirty_pages(void) {
    enum { FIRST = 4, PAGES = 8 };
    const struct machine m = make_machine();
    int exits = 0;
    CHECK(hv_vm_protect(FIRST * PAGE, PAGES * PAGE, HV_MEMORY_READ));
    m.ram[CODE] = 0xf3, m.ram[CODE + 1] = 0xaa, m.ram[CODE + 2] = HLT; /* rep stosb */
    set_reg(m.vcpu, HV_X86_RDI, FIRST * PAGE);
    set_reg(m.vcpu, HV_X86_RCX, PAGES * PAGE);
    set_reg(m.vcpu, HV_X86_RAX, 0x5a);
    for (;;) {
        CHECK(hv_vcpu_run(m.vcpu));
        if (vmcs(m.vcpu, VMCS_RO_EXIT_REASON) != VMX_REASON_EPT_VIOLATION) break;
        const uint64_t page = vmcs(m.vcpu, VMCS_GUEST_PHYSICAL_ADDRESS) & ~0xfffULL;
        SAME(page, (FIRST + exits++) * PAGE);
        CHECK(hv_vm_protect(page, PAGE, RWX));
    }
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), VMX_REASON_HLT);
    SAME(exits, PAGES);
    for (int n = FIRST * PAGE; n < (FIRST + PAGES) * PAGE; ++n) EXPECT(m.ram[n] == 0x5a);
    end_machine(m);
}

/* Another thread protects and unmaps what the running guest writes to. When the call has returned nothing is written
 * any more, and the guest leaves. */
enum { ROUNDS = 100 };
static uint8_t *live;
static int violations, over;

static uint8_t byte_now(void) { return __atomic_load_n(&live[DATA], __ATOMIC_RELAXED); }

static void *changer(void *unused) {
    (void)unused;
    for (int round = 0; round < ROUNDS; ++round) {
        const uint8_t seen = byte_now();
        while (byte_now() == seen) sched_yield(); /* its stores are seen at once */
        const int before = __atomic_load_n(&violations, __ATOMIC_ACQUIRE);
        if (round % 2)
            CHECK(hv_vm_protect(DATA, PAGE, HV_MEMORY_READ));
        else
            CHECK(hv_vm_unmap(DATA, PAGE));
        const uint8_t still = byte_now();
        while (__atomic_load_n(&violations, __ATOMIC_ACQUIRE) == before) sched_yield();
        SAME(byte_now(), still);
        if (round % 2)
            CHECK(hv_vm_protect(DATA, PAGE, RWX));
        else
            CHECK(hv_vm_map(live + DATA, DATA, PAGE, RWX));
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void changes_under_a_running_guest(void) {
    const struct machine m = make_machine();
    pthread_t thread;
    live = m.ram;
    PLACE(m.ram, CODE, writer);
    pthread_create(&thread, NULL, changer, NULL);
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        CHECK(hv_vcpu_run_until(m.vcpu, mach_absolute_time() + 2000000));
        const uint64_t reason = vmcs(m.vcpu, VMCS_RO_EXIT_REASON);
        EXPECT(reason == VMX_REASON_EPT_VIOLATION || reason == VMX_REASON_VMX_TIMER_EXPIRED);
        if (reason == VMX_REASON_EPT_VIOLATION) __atomic_add_fetch(&violations, 1, __ATOMIC_RELEASE);
    }
    pthread_join(thread, NULL);
    end_machine(m);
}

int main(void) {
    allocated_memory();
    what_map_takes();
    rights_of_a_page();
    addresses_behind_paging();
    dirty_pages();
    changes_under_a_running_guest();
    puts("ok");
    return 0;
}
