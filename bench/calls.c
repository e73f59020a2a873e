/* What calls of the C library cost: `calls` writes a line a function, "who name minimum median" in nanoseconds of this
 * thread's CPU time, over rounds of many calls; from the main thread, then from a thread of C's own.
 *
 * calls ROUNDS CALLS */
#include <Hypervisor/Hypervisor.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { RAM_BYTES = 0x10000, CODE = 0x1000, PAGE = 0x1000, MOST_ROUNDS = 101 };

static int rounds, calls;
static uint8_t *ram;
static __thread hv_vcpuid_t vcpu;
static __thread uint64_t value, zero, one;
static __thread uint8_t fpstate[512];

static void require(hv_return_t code, const char *what) {
    if (code == HV_SUCCESS) return;
    fprintf(stderr, "calls: %s: %#x\n", what, (unsigned)code);
    exit(1);
}
#define CHECK(call) require((call), #call)

/* Each call is one that a monitor makes again and again; none of them leaves a trace that a later one would see. */
#define CALLS(ROW)                                                                                \
    ROW(hv_vcpu_read_register, (vcpu, HV_X86_RAX, &value))                                        \
    ROW(hv_vcpu_write_register, (vcpu, HV_X86_RAX, 5))                                            \
    ROW(hv_vmx_vcpu_read_vmcs, (vcpu, VMCS_GUEST_RIP, &value))                                    \
    ROW(hv_vmx_vcpu_write_vmcs, (vcpu, VMCS_CTRL_EXC_BITMAP, 0))                                  \
    ROW(hv_vmx_vcpu_get_cap_write_vmcs, (vcpu, VMCS_CTRL_CPU_BASED, &zero, &one))                 \
    ROW(hv_vmx_read_capability, (HV_VMX_CAP_PROCBASED, &value))                                   \
    ROW(hv_vcpu_read_msr, (vcpu, 0x174, &value))                                                  \
    ROW(hv_vcpu_write_msr, (vcpu, 0x174, 8))                                                      \
    ROW(hv_vcpu_enable_native_msr, (vcpu, 0x174, true))                                           \
    ROW(hv_vcpu_read_fpstate, (vcpu, fpstate, sizeof fpstate))                                    \
    ROW(hv_vcpu_write_fpstate, (vcpu, fpstate, sizeof fpstate))                                   \
    ROW(hv_vcpu_get_exec_time, (vcpu, &value))                                                    \
    ROW(hv_vcpu_get_idle_time, (vcpu, &value))                                                    \
    ROW(hv_vcpu_invalidate_tlb, (vcpu))                                                           \
    ROW(hv_vcpu_set_space, (vcpu, 0))                                                             \
    ROW(hv_vcpu_interrupt, (&vcpu, 1))                                                            \
    ROW(hv_vm_protect, (0x8000, PAGE, HV_MEMORY_READ | HV_MEMORY_WRITE))                          \
    ROW(hv_capability, (HV_CAP_VCPUMAX, &value))                                                  \
    ROW(hv_vcpu_run, (vcpu))                                                                      \
    ROW(hv_vcpu_run_until, (vcpu, HV_DEADLINE_FOREVER))                                           \
    ROW(emulated_port, ())

/* What a monitor does for one OUT: run, read why and what, step over it. Seven calls. */
static hv_return_t emulated_port(void) {
    uint64_t length, rip;
    CHECK(hv_vcpu_run(vcpu));
    CHECK(hv_vmx_vcpu_read_vmcs(vcpu, VMCS_RO_EXIT_REASON, &value));
    CHECK(hv_vmx_vcpu_read_vmcs(vcpu, VMCS_RO_EXIT_QUALIFIC, &value));
    CHECK(hv_vmx_vcpu_read_vmcs(vcpu, VMCS_RO_VMEXIT_INSTR_LEN, &length));
    CHECK(hv_vcpu_read_register(vcpu, HV_X86_RAX, &value));
    CHECK(hv_vcpu_read_register(vcpu, HV_X86_RIP, &rip));
    return hv_vcpu_write_register(vcpu, HV_X86_RIP, rip + length);
}

#define FUNCTION(name, arguments) \
    static hv_return_t call_##name(void) { return name arguments; }
CALLS(FUNCTION)
#define ENTRY(name, arguments) {#name, call_##name},
static const struct {
    const char *name;
    hv_return_t (*call)(void);
} table[] = {CALLS(ENTRY)};

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void measure(const char *who, const char *name, hv_return_t (*call)(void)) {
    double costs[MOST_ROUNDS];
    require(call(), name);
    for (int round = 0; round < rounds; ++round) {
        const double start = now_ns();
        for (int n = 0; n < calls; ++n) require(call(), name);
        costs[round] = (now_ns() - start) / calls;
    }
    qsort(costs, (size_t)rounds, sizeof costs[0], by_value);
    printf("%s %s %.1f %.1f\n", who, name, costs[0], costs[rounds / 2]);
    fflush(stdout);
}

/* The required bits of a control word, none of the others. */
static void required_only(uint32_t field, hv_vmx_capability_t word) {
    uint64_t allowed = 0;
    CHECK(hv_vmx_read_capability(word, &allowed));
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, field, allowed & 0xffffffffU));
}

static void make_vcpu(void) {
    CHECK(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT));
    required_only(VMCS_CTRL_PIN_BASED, HV_VMX_CAP_PINBASED);
    required_only(VMCS_CTRL_CPU_BASED, HV_VMX_CAP_PROCBASED);
    required_only(VMCS_CTRL_CPU_BASED2, HV_VMX_CAP_PROCBASED2);
    required_only(VMCS_CTRL_VMENTRY_CONTROLS, HV_VMX_CAP_ENTRY);
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, VMCS_GUEST_CR0, 0x20));
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, VMCS_GUEST_CR4, 0x2000));
    CHECK(hv_vcpu_write_register(vcpu, HV_X86_RIP, CODE));
    CHECK(hv_vcpu_write_register(vcpu, HV_X86_RFLAGS, 2));
    CHECK(hv_vcpu_read_fpstate(vcpu, fpstate, sizeof fpstate));
}

static void *measure_all(void *who) {
    make_vcpu();
    for (size_t n = 0; n < sizeof table / sizeof table[0]; ++n) measure((const char *)who, table[n].name, table[n].call);
    CHECK(hv_vcpu_destroy(vcpu));
    return NULL;
}

int main(int count, char **arguments) {
    static char first[] = "main", second[] = "thread";
    pthread_t thread;
    rounds = count > 1 ? atoi(arguments[1]) : 11;
    calls = count > 2 ? atoi(arguments[2]) : 10000;
    if (rounds < 1 || rounds > MOST_ROUNDS || calls < 1) return fprintf(stderr, "calls ROUNDS (1 to 101) CALLS\n"), 2;
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(hv_vm_map(ram, 0, RAM_BYTES, HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC));
    ram[CODE] = 0xee, ram[CODE + 1] = 0xeb, ram[CODE + 2] = 0xfd; /* out dx, al; jmp back to it */
    measure_all(first);
    pthread_create(&thread, NULL, measure_all, second);
    pthread_join(thread, NULL);
    CHECK(hv_vm_destroy());
    return 0;
}
