/* The guest's time-stamp counter: the framework's clock and an offset. */
#include <pthread.h>

#include "guest.h"

GUEST(read_counter, 16, "rdtsc; hlt");
GUEST(read_with_aux, 16, "rdtscp; hlt");
GUEST(read_msr, 16, "mov ecx, 0x10; rdmsr; hlt");

static struct machine m;

static uint64_t guest_counter(const uint8_t *code, const uint8_t *end) {
    memcpy(m.ram + CODE, code, (size_t)(end - code));
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    RUN_TO(m.vcpu, VMX_REASON_HLT);
    return (reg(m.vcpu, HV_X86_RDX) & 0xffffffff) << 32 | (reg(m.vcpu, HV_X86_RAX) & 0xffffffff);
}

/* What the guest reads lies between what the client reads before and after, moved by the offset. */
static void shows(uint64_t offset) {
    const struct {
        const uint8_t *code, *end;
    } ways[] = {{read_counter, read_counter_end}, {read_with_aux, read_with_aux_end}, {read_msr, read_msr_end}};
    for (size_t n = 0; n < sizeof ways / sizeof *ways; ++n) {
        const uint64_t before = hv_tsc_clock() + offset;
        const uint64_t seen = guest_counter(ways[n].code, ways[n].end);
        const uint64_t after = hv_tsc_clock() + offset;
        EXPECT(before <= seen && seen <= after);
    }
}

static void the_clock_rises(void) {
    uint64_t last = hv_tsc_clock();
    EXPECT(last != 0);
    for (int n = 0; n < 1000; ++n) {
        const uint64_t next = hv_tsc_clock();
        EXPECT(next >= last);
        last = next;
    }
}

static void offsets(void) {
    static const int64_t each[] = {0, 1000000000000, -1000000};
    for (size_t n = 0; n < sizeof each / sizeof *each; ++n) {
        CHECK(hv_vcpu_set_tsc_relative(m.vcpu, each[n]));
        shows((uint64_t)each[n]);
    }
    const uint64_t field = vmcs(m.vcpu, VMCS_CTRL_TSC_OFFSET); /* the field is what it works by */
    set_vmcs(m.vcpu, VMCS_CTRL_TSC_OFFSET, field + 500);
    shows((uint64_t)(each[2] + 500));
}

/* A new vCPU begins at the clock, with HV_VCPU_TSC_RELATIVE by promise. */
static void at_the_beginning(void) {
    shows(0);
}

/* hv_vm_sync_tsc gives all vCPUs one value, those of other threads too. */
static pthread_barrier_t made, synced;
static uint64_t other_seen;

static void *other(void *unused) {
    (void)unused;
    const hv_vcpuid_t vcpu = make_real_mode_vcpu();
    pthread_barrier_wait(&made);
    pthread_barrier_wait(&synced);
    set_reg(vcpu, HV_X86_RIP, CODE);
    RUN_TO(vcpu, VMX_REASON_HLT);
    other_seen = (reg(vcpu, HV_X86_RDX) & 0xffffffff) << 32 | (reg(vcpu, HV_X86_RAX) & 0xffffffff);
    CHECK(hv_vcpu_destroy(vcpu));
    return NULL;
}

static void one_value_for_all(void) {
    const uint64_t value = 0x123456789abc;
    pthread_t thread;
    PLACE(m.ram, CODE, read_counter);
    pthread_barrier_init(&made, NULL, 2);
    pthread_barrier_init(&synced, NULL, 2);
    pthread_create(&thread, NULL, other, NULL);
    pthread_barrier_wait(&made);
    CHECK(hv_vcpu_set_tsc_relative(m.vcpu, 77777777777)); /* until now they differ */
    const uint64_t before = hv_tsc_clock();
    CHECK(hv_vm_sync_tsc(value));
    pthread_barrier_wait(&synced);
    const uint64_t mine = guest_counter(read_counter, read_counter_end);
    pthread_join(thread, NULL);
    const uint64_t passed = hv_tsc_clock() - before;
    EXPECT(mine >= value && mine - value <= passed);
    EXPECT(other_seen >= value && other_seen - value <= passed);
}

static void an_exit_if_wanted(void) {
    set_exits(m.vcpu, CPU_BASED_RDTSC);
    PLACE(m.ram, CODE, read_counter);
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    RUN_TO(m.vcpu, VMX_REASON_RDTSC);
    SAME(vmcs(m.vcpu, VMCS_RO_VMEXIT_INSTR_LEN), 2);
    set_exits(m.vcpu, 0);
}

/* RDTSCP and RDPID show a number that the client chooses for each vCPU. */
static void the_number_beside_it(void) {
    CHECK(hv_vcpu_write_msr(m.vcpu, HV_MSR_IA32_TSC_AUX, 0x2a));
    guest_counter(read_with_aux, read_with_aux_end);
    SAME(reg(m.vcpu, HV_X86_RCX) & 0xffffffff, 0x2a);
}

int main(void) {
    REFUSED(HV_NO_DEVICE, hv_vm_sync_tsc(1));
    m = make_machine();
    CHECK(hv_vcpu_enable_native_msr(m.vcpu, HV_MSR_IA32_TSC, true));
    set_control(m.vcpu, VMCS_CTRL_CPU_BASED2, HV_VMX_CAP_PROCBASED2, CPU_BASED2_RDTSCP);
    the_clock_rises();
    at_the_beginning();
    offsets();
    an_exit_if_wanted();
    the_number_beside_it();
    one_value_for_all();
    end_machine(m);
    puts("ok");
    return 0;
}
