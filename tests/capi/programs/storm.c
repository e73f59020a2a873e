/* A storm of kicks: three threads kick two vCPUs thousands of times, while those run, exit, and answer exits. Each
 * kick must be followed by an exit for it; one that is lost would leave its sender waiting. */
#include <pthread.h>
#include <unistd.h>

#include "guest.h"

GUEST(busy, 16, "0: inc word ptr [0x3000]; test byte ptr [0x3000], 63; jne 0b; out 0x80, al; jmp 0b");

enum { VCPUS = 2, SENDERS = 3, KICKS = 1000, SECONDS = 60 };
static hv_vcpuid_t ids[VCPUS];
static uint64_t kicked[VCPUS]; /* exits with reason 1 */
static uint64_t ports[VCPUS], completed, stop;
static pthread_barrier_t made, over;

static uint64_t now(const uint64_t *counter) { return __atomic_load_n(counter, __ATOMIC_SEQ_CST); }
static void count(uint64_t *counter) { __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST); }

static void *runner(void *argument) {
    const size_t n = *(size_t *)argument;
    const hv_vcpuid_t vcpu = ids[n] = make_real_mode_vcpu();
    pthread_barrier_wait(&made);
    while (!now(&stop)) {
        CHECK(n ? hv_vcpu_run_until(vcpu, HV_DEADLINE_FOREVER) : hv_vcpu_run(vcpu));
        const uint64_t reason = vmcs(vcpu, VMCS_RO_EXIT_REASON);
        if (reason == VMX_REASON_IRQ) {
            count(&kicked[n]);
            continue;
        }
        SAME(reason, VMX_REASON_IO); /* kicks arrive here too, between an exit and the next run */
        count(&ports[n]);
        skip(vcpu);
    }
    pthread_barrier_wait(&over); /* the last kick may still be on its way */
    CHECK(hv_vcpu_destroy(vcpu));
    return NULL;
}

static void *sender(void *argument) {
    const size_t which = *(size_t *)argument; /* the last one kicks all of them in one call */
    for (int n = 0; n < KICKS; ++n) {
        uint64_t before[VCPUS];
        for (int v = 0; v < VCPUS; ++v) before[v] = now(&kicked[v]);
        if (which < VCPUS)
            CHECK(hv_vcpu_interrupt(&ids[which], 1));
        else
            CHECK(hv_vcpu_interrupt(ids, VCPUS));
        const uint64_t given_up = mach_absolute_time() + SECONDS * 1000000000ULL;
        for (size_t v = 0; v < VCPUS; ++v)
            while ((v == which || which == VCPUS) && now(&kicked[v]) == before[v]) {
                EXPECT(mach_absolute_time() < given_up); /* else this kick was lost */
                usleep(10);
            }
        count(&completed);
    }
    return NULL;
}

int main(void) {
    pthread_t runners[VCPUS], senders[SENDERS];
    size_t numbers[SENDERS] = {0, 1, 2};
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    uint8_t *ram = map_ram();
    PLACE(ram, CODE, busy);
    pthread_barrier_init(&made, NULL, VCPUS + 1);
    pthread_barrier_init(&over, NULL, VCPUS + 1);
    for (int n = 0; n < VCPUS; ++n) pthread_create(&runners[n], NULL, runner, &numbers[n]);
    pthread_barrier_wait(&made);
    for (int n = 0; n < SENDERS; ++n) pthread_create(&senders[n], NULL, sender, &numbers[n]);
    for (int n = 0; n < SENDERS; ++n) pthread_join(senders[n], NULL);
    SAME(now(&completed), SENDERS * KICKS);
    for (int n = 0; n < VCPUS; ++n) EXPECT(now(&kicked[n]) > 0 && now(&kicked[n]) <= 2 * KICKS && now(&ports[n]) > 0);
    count(&stop);
    CHECK(hv_vcpu_interrupt(ids, VCPUS));
    pthread_barrier_wait(&over);
    for (int n = 0; n < VCPUS; ++n) pthread_join(runners[n], NULL);
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_interrupt(ids, VCPUS)); /* they are gone: no crash, no effect */
    CHECK(hv_vm_destroy());
    puts("ok");
    return 0;
}
