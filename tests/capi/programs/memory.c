/* Guest memory: what may be mapped, the rights of the guest, and what a refused access tells. */
#include "guest.h"

GUEST(touch, 16, "mov al, [0x3000]; mov [0x3000], bl; hlt");

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

int main(void) {
    allocated_memory();
    what_map_takes();
    rights_of_a_page();
    dirty_pages();
    puts("ok");
    return 0;
}
