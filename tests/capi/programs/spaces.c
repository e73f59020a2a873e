/* Address spaces: the same guest addresses, other memory; vCPUs that move between them, and two that share a page. */
#include <pthread.h>

#include "guest.h"

GUEST(say, 16, "mov al, [0x3000]; out 0x80, al; hlt");
GUEST(ping, 16, "mov byte ptr [0x3000], 1\n0: cmp byte ptr [0x3001], 1; jne 0b; hlt");
GUEST(pong, 16, "0: cmp byte ptr [0x3000], 1; jne 0b; mov byte ptr [0x3001], 1; hlt");

enum { SHARED = 0x3000 };

/* A space with memory of its own at 0, in which `say` finds this byte. */
static hv_vm_space_t make_space(uint8_t **ram, uint8_t value) {
    hv_vm_space_t space = 0;
    CHECK(hv_vm_space_create(&space));
    EXPECT(space != HV_VM_SPACE_DEFAULT);
    *ram = host_memory(RAM_BYTES);
    PLACE(*ram, CODE, say);
    (*ram)[SHARED] = value;
    CHECK(hv_vm_map_space(space, *ram, 0, RAM_BYTES, RWX));
    return space;
}

static void runs_in(hv_vcpuid_t vcpu, hv_vm_space_t space, uint8_t value) {
    CHECK(hv_vcpu_set_space(vcpu, space));
    set_reg(vcpu, HV_X86_RIP, CODE);
    set_reg(vcpu, HV_X86_RBX, 0x1234);
    RUN_TO(vcpu, VMX_REASON_IO);
    SAME(reg(vcpu, HV_X86_RAX) & 0xff, value);
    SAME(reg(vcpu, HV_X86_RBX), 0x1234); /* the state goes along */
}

static void a_vcpu_moves(const struct machine *m, hv_vm_space_t one, uint8_t *one_ram, hv_vm_space_t two) {
    for (int round = 0; round < 50; ++round) {
        runs_in(m->vcpu, HV_VM_SPACE_DEFAULT, 'a');
        runs_in(m->vcpu, one, 'b');
        runs_in(m->vcpu, two, 'c');
    }
    one_ram[SHARED] = 'B'; /* the host's writes are seen in the space, and in no other */
    runs_in(m->vcpu, one, 'B');
    runs_in(m->vcpu, two, 'c');
}

/* Rights and holes belong to one space. */
static void rights_are_a_space_s_own(const struct machine *m, hv_vm_space_t space) {
    CHECK(hv_vm_protect_space(space, SHARED, PAGE, 0));
    runs_in(m->vcpu, HV_VM_SPACE_DEFAULT, 'a');
    CHECK(hv_vcpu_set_space(m->vcpu, space));
    set_reg(m->vcpu, HV_X86_RIP, CODE);
    RUN_TO(m->vcpu, VMX_REASON_EPT_VIOLATION);
    SAME(vmcs(m->vcpu, VMCS_GUEST_PHYSICAL_ADDRESS), SHARED);
    CHECK(hv_vm_protect_space(space, SHARED, PAGE, HV_MEMORY_READ));
    runs_in(m->vcpu, space, 'B');
    CHECK(hv_vm_unmap_space(space, CODE, PAGE));
    set_reg(m->vcpu, HV_X86_RIP, CODE);
    RUN_TO(m->vcpu, VMX_REASON_EPT_VIOLATION);
    SAME(vmcs(m->vcpu, VMCS_GUEST_PHYSICAL_ADDRESS), CODE);
    EXPECT(vmcs(m->vcpu, VMCS_RO_EXIT_QUALIFIC) & 4); /* a fetch */
    runs_in(m->vcpu, HV_VM_SPACE_DEFAULT, 'a');
}

static void what_is_refused(const struct machine *m, hv_vm_space_t space, uint8_t *ram) {
    const hv_vm_space_t none = 12345;
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_set_space(m->vcpu, none));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_map_space(none, ram, 0, PAGE, RWX));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_unmap_space(none, 0, PAGE));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_protect_space(none, 0, PAGE, RWX));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_map_space(space, ram, 0x123, PAGE, RWX));
    REFUSED(HV_ERROR, hv_vm_map_space(space, ram, 0, PAGE, RWX)); /* something is there */
    REFUSED(HV_BAD_ARGUMENT, hv_vm_space_destroy(HV_VM_SPACE_DEFAULT));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_space_destroy(none));
    CHECK(hv_vcpu_set_space(m->vcpu, space));
    REFUSED(HV_BUSY, hv_vm_space_destroy(space)); /* a vCPU is in it */
    CHECK(hv_vcpu_set_space(m->vcpu, HV_VM_SPACE_DEFAULT));
    CHECK(hv_vm_space_destroy(space));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_space_destroy(space));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_set_space(m->vcpu, space));
    runs_in(m->vcpu, HV_VM_SPACE_DEFAULT, 'a');
}

static void there_are_as_many_as_promised(void) {
    uint64_t most = 0;
    hv_vm_space_t spaces[4096], one_more;
    uint32_t count = 0;
    CHECK(hv_capability(HV_CAP_ADDRSPACEMAX, &most));
    EXPECT(most >= 2 && most <= sizeof spaces / sizeof *spaces);
    while (hv_vm_space_create(&spaces[count]) == HV_SUCCESS) ++count;
    REFUSED(HV_NO_RESOURCES, hv_vm_space_create(&one_more));
    SAME(count, most - 2); /* the default one, and one that the caller has */
    while (count) CHECK(hv_vm_space_destroy(spaces[--count]));
}

/* Two vCPUs on two threads, in two spaces that have one page in common. */
static struct side {
    hv_vm_space_t space;
    uint8_t *ram;
} sides[2];

static void *run_side(void *argument) {
    const struct side *side = (const struct side *)argument;
    const hv_vcpuid_t vcpu = make_real_mode_vcpu();
    CHECK(hv_vcpu_set_space(vcpu, side->space));
    RUN_TO(vcpu, VMX_REASON_HLT);
    CHECK(hv_vcpu_destroy(vcpu));
    return NULL;
}

static void two_spaces_share_a_page(void) {
    pthread_t threads[2];
    uint8_t *common = host_memory(PAGE);
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    for (int n = 0; n < 2; ++n) {
        CHECK(hv_vm_space_create(&sides[n].space));
        sides[n].ram = host_memory(PAGE);
        CHECK(hv_vm_map_space(sides[n].space, sides[n].ram, CODE, PAGE, RWX));
        CHECK(hv_vm_map_space(sides[n].space, common, SHARED, PAGE, RWX));
    }
    PLACE(sides[0].ram, 0, ping);
    PLACE(sides[1].ram, 0, pong);
    for (int n = 0; n < 2; ++n) pthread_create(&threads[n], NULL, run_side, &sides[n]);
    for (int n = 0; n < 2; ++n) pthread_join(threads[n], NULL);
    EXPECT(common[0] == 1 && common[1] == 1);
    CHECK(hv_vm_destroy());
}

int main(void) {
    uint8_t *one_ram, *two_ram;
    hv_vm_space_t space;
    REFUSED(HV_NO_DEVICE, hv_vm_space_create(&space));
    const struct machine m = make_machine();
    PLACE(m.ram, CODE, say);
    m.ram[SHARED] = 'a';
    const hv_vm_space_t one = make_space(&one_ram, 'b'), two = make_space(&two_ram, 'c');
    EXPECT(one != two);
    a_vcpu_moves(&m, one, one_ram, two);
    rights_are_a_space_s_own(&m, one);
    what_is_refused(&m, two, two_ram);
    there_are_as_many_as_promised();
    end_machine(m); /* with the other space still there */
    two_spaces_share_a_page();
    puts("ok");
    return 0;
}
