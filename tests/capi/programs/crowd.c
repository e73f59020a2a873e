/* Three threads whose first calls come at once, and who then call without end: the main thread, which has not called yet, forks
 * from the start of the library on; each child makes a VM. Then the program ends with the threads in their calls. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { THREADS = 3, FORKS = 24, SECONDS = 60 };

static void *caller(void *unused) {
    uint64_t most;
    (void)unused;
    for (;;) {
        CHECK(hv_capability(HV_CAP_VCPUMAX, &most));
        EXPECT(most > 0);
    }
    return NULL;
}

static void *short_life(void *unused) {
    (void)unused;
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    const hv_vcpuid_t vcpu = make_real_mode_vcpu();
    EXPECT(reg(vcpu, HV_X86_RIP) == CODE);
    CHECK(hv_vcpu_destroy(vcpu));
    CHECK(hv_vm_destroy());
    return NULL;
}

static void in_child(int number) {
    pthread_t other;
    alarm(SECONDS); /* a child that waits for a thread of its parent waits for ever */
    if (number % 2) {
        short_life(NULL);
    } else { /* not the thread that forked makes the first call */
        EXPECT(pthread_create(&other, NULL, short_life, NULL) == 0);
        pthread_join(other, NULL);
    }
    _exit(0);
}

int main(void) {
    pthread_t threads[THREADS];
    for (int n = 0; n < THREADS; ++n) EXPECT(pthread_create(&threads[n], NULL, caller, NULL) == 0);
    for (int n = 0; n < FORKS; ++n) {
        int status = 1;
        usleep(n < 10 ? 20000 : 1000); /* the library starts meanwhile */
        const pid_t child = fork();
        if (child == 0) in_child(n);
        EXPECT(waitpid(child, &status, 0) == child);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    puts("ok");
    return 0;
}
