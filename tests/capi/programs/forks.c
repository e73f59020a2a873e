/* fork() while another thread is inside a run: the child makes a VM of its own, the parent's goes on. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static hv_vcpuid_t busy;
static pthread_barrier_t made;

static void *runner(void *unused) {
    (void)unused;
    busy = make_real_mode_vcpu();
    pthread_barrier_wait(&made);
    CHECK(hv_vcpu_run(busy));
    EXPECT(vmcs(busy, VMCS_RO_EXIT_REASON) == VMX_REASON_IRQ);
    CHECK(hv_vcpu_destroy(busy));
    return NULL;
}

static void whole_life(void) {
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    uint8_t *ram = map_ram();
    ram[CODE] = 0xf4;
    const hv_vcpuid_t vcpu = make_real_mode_vcpu();
    CHECK(hv_vcpu_run(vcpu));
    EXPECT(vmcs(vcpu, VMCS_RO_EXIT_REASON) == VMX_REASON_HLT);
    CHECK(hv_vcpu_destroy(vcpu));
    CHECK(hv_vm_destroy());
}

int main(void) {
    pthread_t thread;
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    uint8_t *ram = map_ram();
    place_endless_loop(ram);
    pthread_barrier_init(&made, NULL, 2);
    pthread_create(&thread, NULL, runner, NULL);
    pthread_barrier_wait(&made);
    for (int n = 0; n < 20; ++n) {
        const pid_t child = fork();
        EXPECT(child >= 0);
        if (child == 0) {
            whole_life();
            _exit(0);
        }
        int status = 1;
        EXPECT(waitpid(child, &status, 0) == child);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    CHECK(hv_vcpu_interrupt(&busy, 1));
    pthread_join(thread, NULL);
    CHECK(hv_vm_destroy());
    puts("ok");
    return 0;
}
