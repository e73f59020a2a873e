/* Two threads with a vCPU each; kicks from the main thread, deadlines, and a foreign thread that is refused. */
#include <pthread.h>

#include "guest.h"

enum { KICKS = 300 };
static hv_vcpuid_t ids[2];
static pthread_barrier_t made, done;

static void *runner(void *argument) {
    const int n = *(int *)argument;
    ids[n] = make_real_mode_vcpu();
    pthread_barrier_wait(&made);
    for (int kicks = 0; kicks < KICKS; ++kicks) {
        CHECK(hv_vcpu_run(ids[n]));
        EXPECT(vmcs(ids[n], VMCS_RO_EXIT_REASON) == VMX_REASON_IRQ);
        pthread_barrier_wait(&done); /* a kick is sticky: the next one is not sent before this one was seen */
    }
    const uint64_t soon = mach_absolute_time() + 2000000;
    CHECK(hv_vcpu_run_until(ids[n], soon));
    SAME(vmcs(ids[n], VMCS_RO_EXIT_REASON), VMX_REASON_VMX_TIMER_EXPIRED);
    EXPECT(mach_absolute_time() >= soon);
    CHECK(hv_vcpu_destroy(ids[n]));
    return NULL;
}

int main(void) {
    pthread_t threads[2];
    int numbers[2] = {0, 1};
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    uint8_t *ram = map_ram();
    place_endless_loop(ram);
    pthread_barrier_init(&made, NULL, 3);
    pthread_barrier_init(&done, NULL, 3);
    for (int n = 0; n < 2; ++n) pthread_create(&threads[n], NULL, runner, &numbers[n]);
    pthread_barrier_wait(&made);
    EXPECT(ids[0] != ids[1]);
    uint64_t value = 0;
    EXPECT(hv_vcpu_read_register(ids[0], HV_X86_RIP, &value) == HV_BAD_ARGUMENT); /* not this thread's */
    for (int kicks = 0; kicks < KICKS; ++kicks) {
        CHECK(hv_vcpu_interrupt(ids, 2));
        pthread_barrier_wait(&done);
    }
    for (int n = 0; n < 2; ++n) pthread_join(threads[n], NULL);
    CHECK(hv_vm_destroy());
    puts("ok");
    return 0;
}
