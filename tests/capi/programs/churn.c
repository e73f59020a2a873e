/* Thousands of threads that come, make a vCPU and go: what Python keeps for a thread of C's goes with it. */
#include <pthread.h>

#include "guest.h"

enum { SETTLE = 500, THREADS = 3000, LEAK_KIB = 1024 };

static void *short_life(void *unused) {
    (void)unused;
    const hv_vcpuid_t vcpu = make_real_mode_vcpu();
    SAME(vcpu, 0);
    SAME(reg(vcpu, HV_X86_RIP), CODE);
    CHECK(hv_vcpu_destroy(vcpu));
    return NULL;
}

static long resident_kib(void) {
    long pages = -1;
    FILE *statm = fopen("/proc/self/statm", "r");
    EXPECT(statm && fscanf(statm, "%*s %ld", &pages) == 1);
    fclose(statm);
    return pages * 4;
}

int main(void) {
    long before = 0;
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    for (int n = 0; n < SETTLE + THREADS; ++n) {
        pthread_t thread;
        if (n == SETTLE) before = resident_kib();
        EXPECT(pthread_create(&thread, NULL, short_life, NULL) == 0);
        EXPECT(pthread_join(thread, NULL) == 0);
    }
    const long grown = resident_kib() - before;
    if (grown > LEAK_KIB) fprintf(stderr, "grown by %ld KiB\n", grown);
    EXPECT(grown <= LEAK_KIB);
    CHECK(hv_vm_destroy());
    puts("ok");
    return 0;
}
