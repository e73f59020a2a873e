/* Ends with a live VM while another thread is inside a run. */
#include <pthread.h>

#include "guest.h"

static pthread_barrier_t made;

static void *runner(void *unused) {
    (void)unused;
    const hv_vcpuid_t vcpu = make_real_mode_vcpu();
    pthread_barrier_wait(&made);
    hv_vcpu_run(vcpu);
    return NULL;
}

int main(void) {
    pthread_t thread;
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    uint8_t *ram = map_ram();
    place_endless_loop(ram);
    pthread_barrier_init(&made, NULL, 2);
    pthread_create(&thread, NULL, runner, NULL);
    pthread_barrier_wait(&made);
    puts("ok");
    return 0;
}
