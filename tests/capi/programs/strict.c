/* What a Mac refuses is refused here: calls without a VM, about vCPUs of other threads, about ids that are none; a
 * second VM, a second vCPU on a thread, destroying what is alive. And nothing of it changes anything. */
#include <pthread.h>

#include "guest.h"

/* Every call that only the thread of a vCPU may make, with arguments that are right otherwise. */
static uint8_t fpstate[4096];
static uint64_t number;
static uint32_t word;
static uint8_t byte;
static bool flag, flags[8];
static hv_vm_exitinfo_t info;
static hv_apic_state_ext_t apic_state;

#define EACH_OWNER_CALL(X)                                                                                    \
    X(hv_vcpu_set_space(vcpu, HV_VM_SPACE_DEFAULT))                                                           \
    X(hv_vcpu_run(vcpu)) X(hv_vcpu_run_until(vcpu, 0)) X(hv_vcpu_flush(vcpu)) X(hv_vcpu_invalidate_tlb(vcpu)) \
    X(hv_vcpu_get_exec_time(vcpu, &number)) X(hv_vcpu_get_idle_time(vcpu, &number))                           \
    X(hv_vcpu_vmx_status(vcpu, &word))                                                                        \
    X(hv_vcpu_read_register(vcpu, HV_X86_RIP, &number)) X(hv_vcpu_write_register(vcpu, HV_X86_RIP, 0))        \
    X(hv_vcpu_read_fpstate(vcpu, fpstate, sizeof fpstate)) X(hv_vcpu_write_fpstate(vcpu, fpstate, 512))       \
    X(hv_vcpu_enable_native_msr(vcpu, HV_MSR_IA32_STAR, true))                                                \
    X(hv_vcpu_enable_managed_msr(vcpu, HV_MSR_IA32_STAR, true))                                               \
    X(hv_vcpu_set_msr_access(vcpu, HV_MSR_IA32_STAR, HV_MSR_READ))                                            \
    X(hv_vcpu_read_msr(vcpu, HV_MSR_IA32_STAR, &number)) X(hv_vcpu_write_msr(vcpu, HV_MSR_IA32_STAR, 1))      \
    X(hv_vcpu_set_tsc_relative(vcpu, 5))                                                                      \
    X(hv_vmx_vcpu_read_vmcs(vcpu, VMCS_GUEST_RIP, &number)) X(hv_vmx_vcpu_write_vmcs(vcpu, VMCS_GUEST_RIP, 0)) \
    X(hv_vmx_vcpu_get_cap_write_vmcs(vcpu, VMCS_GUEST_RIP, &number, &number))                                 \
    X(hv_vmx_vcpu_read_shadow_vmcs(vcpu, VMCS_GUEST_RIP, &number))                                            \
    X(hv_vmx_vcpu_write_shadow_vmcs(vcpu, VMCS_GUEST_RIP, 0))                                                 \
    X(hv_vmx_vcpu_set_shadow_access(vcpu, VMCS_GUEST_RIP, 0))                                                 \
    X(hv_vmx_vcpu_set_apic_address(vcpu, 0)) X(hv_vmx_vcpu_set_apic_address_space(vcpu, 0, 0))                \
    X(hv_vcpu_inject_extint(vcpu)) X(hv_vcpu_apic_read(vcpu, 0x20, &word))                                    \
    X(hv_vcpu_apic_write(vcpu, 0x80, 0, &flag)) X(hv_vcpu_apic_get_state(vcpu, &apic_state))                  \
    X(hv_vcpu_apic_put_state(vcpu, &apic_state)) X(hv_vcpu_apic_lsc_invalidate(vcpu))                         \
    X(hv_vcpu_apic_lsc_enter_r32(vcpu, true, 0, 3, 0, HV_X86_RAX, NULL, 0))                                   \
    X(hv_vcpu_apic_lsc_enter_imm32(vcpu, 0, 3, 0, 0, NULL, 0))                                                \
    X(hv_vcpu_apic_ctrl(vcpu, HV_APIC_CTRL_DEFAULT)) X(hv_vcpu_apic_trigger_lvt(vcpu, HV_APIC_LVT_FLAVOR_TIMER)) \
    X(hv_vcpu_exit_info(vcpu, &info)) X(hv_vcpu_exit_init_ap(vcpu, flags, 8))                                 \
    X(hv_vcpu_exit_startup_ap(vcpu, flags, 8, &number)) X(hv_vcpu_exit_ioapic_eoi(vcpu, &byte))               \
    X(hv_vcpu_exit_apic_access_read(vcpu, &word)) X(hv_vcpu_exit_inject_excp(vcpu, &byte, &flag, &word, &flag))

static void all_refused(hv_vcpuid_t vcpu, hv_return_t code) {
#define X(call) REFUSED(code, call);
    EACH_OWNER_CALL(X)
#undef X
}

static void without_a_vm(void) {
    uint8_t *memory = host_memory(PAGE);
    hv_vcpuid_t vcpu = 0;
    all_refused(vcpu, HV_NO_DEVICE);
    REFUSED(HV_NO_DEVICE, hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT));
    REFUSED(HV_NO_DEVICE, hv_vcpu_destroy(vcpu));
    REFUSED(HV_NO_DEVICE, hv_vcpu_interrupt(&vcpu, 1));
    REFUSED(HV_NO_DEVICE, hv_vm_destroy());
    REFUSED(HV_NO_DEVICE, hv_vm_map(memory, 0, PAGE, RWX));
    REFUSED(HV_NO_DEVICE, hv_vm_unmap(0, PAGE));
    REFUSED(HV_NO_DEVICE, hv_vm_protect(0, PAGE, RWX));
    REFUSED(HV_NO_DEVICE, hv_vm_space_destroy(1));
    REFUSED(HV_NO_DEVICE, hv_vm_sync_tsc(0));
    REFUSED(HV_NO_DEVICE, hv_vm_lapic_msi(0xfee00000, 0x41));
    CHECK(hv_capability(HV_CAP_VCPUMAX, &number)); /* limits and capabilities need none */
    EXPECT(number >= 1);
    capability(HV_VMX_CAP_PINBASED);
    munmap(memory, PAGE);
}

static void options(void) {
    static const hv_vm_options_t taken[] = {
        HV_VM_SPECIFY_MITIGATIONS, HV_VM_SPECIFY_MITIGATIONS | HV_VM_MITIGATION_A_ENABLE | HV_VM_MITIGATION_B_ENABLE,
        HV_VM_SPECIFY_MITIGATIONS | HV_VM_MITIGATION_C_ENABLE | HV_VM_MITIGATION_D_ENABLE | HV_VM_MITIGATION_E_ENABLE,
        HV_VM_ACCEL_APIC};
    for (size_t n = 0; n < sizeof taken / sizeof *taken; ++n) {
        CHECK(hv_vm_create(taken[n]));
        CHECK(hv_vm_destroy());
    }
    REFUSED(HV_BAD_ARGUMENT, hv_vm_create(0x20));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_create(1ULL << 40));
    REFUSED(HV_NO_DEVICE, hv_vm_destroy()); /* so there is none */
}

/* A pointer that must not be NULL is an error, and no crash. */
static void null_pointers(hv_vcpuid_t vcpu) {
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_create(NULL, HV_VCPU_DEFAULT));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_space_create(NULL));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_read_register(vcpu, HV_X86_RIP, NULL));
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_vcpu_read_vmcs(vcpu, VMCS_GUEST_RIP, NULL));
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_read_capability(HV_VMX_CAP_PINBASED, NULL));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_read_msr(vcpu, HV_MSR_IA32_STAR, NULL));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_read_fpstate(vcpu, NULL, 512));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_write_fpstate(vcpu, NULL, 512));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_get_exec_time(vcpu, NULL));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_interrupt(NULL, 1));
    REFUSED(HV_BAD_ARGUMENT, hv_vm_allocate(NULL, PAGE, HV_ALLOCATE_DEFAULT));
    REFUSED(HV_BAD_ARGUMENT, hv_capability(HV_CAP_VCPUMAX, NULL));
    CHECK(hv_vcpu_interrupt(NULL, 0)); /* nobody to interrupt */
}

static void ids_that_are_none(hv_vcpuid_t vcpu) {
    hv_vcpuid_t both[2] = {vcpu, 99};
    all_refused(99, HV_BAD_ARGUMENT);
    all_refused(UINT32_MAX, HV_BAD_ARGUMENT);
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_destroy(99));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_interrupt(both, 2)); /* and the first of them is not kicked either: */
    RUN_TO(vcpu, VMX_REASON_HLT);
}

/* The same calls from a thread that has no vCPU, and from one that has another. */
static hv_vcpuid_t owned;

static void *foreign(void *with_one_of_its_own) {
    hv_vcpuid_t mine = 0;
    REFUSED(HV_BUSY, hv_vm_create(HV_VM_DEFAULT)); /* a second VM, from any thread */
    if (with_one_of_its_own) {
        CHECK(hv_vcpu_create(&mine, HV_VCPU_DEFAULT));
        EXPECT(mine != owned);
    }
    all_refused(owned, HV_BAD_ARGUMENT);
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_destroy(owned)); /* while its thread lives */
    REFUSED(HV_BUSY, hv_vm_destroy());
    if (with_one_of_its_own) CHECK(hv_vcpu_destroy(mine));
    return NULL;
}

static void from_another_thread(hv_vcpuid_t vcpu) {
    pthread_t thread;
    owned = vcpu;
    for (int n = 0; n < 2; ++n) {
        set_reg(vcpu, HV_X86_RIP, CODE);
        pthread_create(&thread, NULL, foreign, n ? &owned : NULL);
        pthread_join(thread, NULL);
        SAME(reg(vcpu, HV_X86_RIP), CODE); /* nothing has changed */
        RUN_TO(vcpu, VMX_REASON_HLT);
    }
}

/* A thread may end with its vCPU alive; then anybody may destroy it, and it keeps no VM from ending. */
static void *leaves_one_behind(void *id) {
    CHECK(hv_vcpu_create((hv_vcpuid_t *)id, HV_VCPU_DEFAULT));
    return NULL;
}

static void of_threads_that_have_ended(void) {
    pthread_t thread;
    hv_vcpuid_t first = 77, second = 77;
    pthread_create(&thread, NULL, leaves_one_behind, &first);
    pthread_join(thread, NULL);
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_read_register(first, HV_X86_RIP, &number));
    for (int n = 0; n < 100; ++n) CHECK(hv_vcpu_interrupt(&first, 1)); /* kicks come late: harmless */
    CHECK(hv_vcpu_destroy(first));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_destroy(first));
    pthread_create(&thread, NULL, leaves_one_behind, &second);
    pthread_join(thread, NULL);
    SAME(second, first); /* the lowest id that is free */
}

/* As many vCPUs as there may be, each on a thread of its own. */
static pthread_barrier_t all_made;
static uint64_t most;
static hv_vcpuid_t ids[256];

static void *has_one(void *id) {
    CHECK(hv_vcpu_create((hv_vcpuid_t *)id, HV_VCPU_DEFAULT));
    pthread_barrier_wait(&all_made);
    pthread_barrier_wait(&all_made);
    CHECK(hv_vcpu_destroy(*(hv_vcpuid_t *)id));
    return NULL;
}

static void too_many(void) {
    pthread_t threads[256];
    uint8_t seen[256] = {0};
    hv_vcpuid_t one_more;
    CHECK(hv_capability(HV_CAP_VCPUMAX, &most));
    EXPECT(most <= sizeof ids / sizeof *ids);
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    pthread_barrier_init(&all_made, NULL, (unsigned)most + 1);
    for (uint64_t n = 0; n < most; ++n) pthread_create(&threads[n], NULL, has_one, &ids[n]);
    pthread_barrier_wait(&all_made);
    for (uint64_t n = 0; n < most; ++n) {
        EXPECT(ids[n] < most && !seen[ids[n]]); /* small numbers from 0, each once */
        seen[ids[n]] = 1;
    }
    REFUSED(HV_NO_RESOURCES, hv_vcpu_create(&one_more, HV_VCPU_DEFAULT));
    pthread_barrier_wait(&all_made);
    for (uint64_t n = 0; n < most; ++n) pthread_join(threads[n], NULL);
    CHECK(hv_vcpu_create(&one_more, HV_VCPU_DEFAULT));
    SAME(one_more, 0);
    CHECK(hv_vcpu_destroy(one_more));
    CHECK(hv_vm_destroy());
}

int main(void) {
    hv_vcpuid_t second;
    without_a_vm();
    options();
    const struct machine m = make_machine();
    m.ram[CODE] = HLT;
    REFUSED(HV_BUSY, hv_vm_create(HV_VM_DEFAULT));
    REFUSED(HV_BUSY, hv_vcpu_create(&second, HV_VCPU_DEFAULT)); /* this thread has one */
    REFUSED(HV_BUSY, hv_vm_destroy());
    null_pointers(m.vcpu);
    ids_that_are_none(m.vcpu);
    from_another_thread(m.vcpu);
    of_threads_that_have_ended();
    RUN_TO(m.vcpu, VMX_REASON_HLT); /* after all of that */
    CHECK(hv_vcpu_destroy(m.vcpu));
    all_refused(m.vcpu, HV_BAD_ARGUMENT); /* it was, and is no more */
    CHECK(hv_vm_destroy());
    without_a_vm();
    too_many();
    puts("ok");
    return 0;
}
