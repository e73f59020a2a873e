/* Memory that changes under a running guest. Another thread protects and unmaps what the guest writes to. When the
 * call has returned nothing is written any more, and the guest leaves. */
#include <pthread.h>
#include <sched.h>

#include "guest.h"

GUEST(writer, 16, "0: inc byte ptr [0x3000]; jmp 0b");

enum { DATA = 0x3000 };
enum { ROUNDS = 100 };
static uint8_t *live;
static int violations, over;

static uint8_t byte_now(void) { return __atomic_load_n(&live[DATA], __ATOMIC_RELAXED); }

static void *changer(void *unused) {
    (void)unused;
    for (int round = 0; round < ROUNDS; ++round) {
        const uint8_t seen = byte_now();
        while (byte_now() == seen) sched_yield(); /* its stores are seen at once */
        const int before = __atomic_load_n(&violations, __ATOMIC_ACQUIRE);
        if (round % 2)
            CHECK(hv_vm_protect(DATA, PAGE, HV_MEMORY_READ));
        else
            CHECK(hv_vm_unmap(DATA, PAGE));
        const uint8_t still = byte_now();
        while (__atomic_load_n(&violations, __ATOMIC_ACQUIRE) == before) sched_yield();
        SAME(byte_now(), still);
        if (round % 2)
            CHECK(hv_vm_protect(DATA, PAGE, RWX));
        else
            CHECK(hv_vm_map(live + DATA, DATA, PAGE, RWX));
    }
    __atomic_store_n(&over, 1, __ATOMIC_RELEASE);
    return NULL;
}

int main(void) {
    const struct machine m = make_machine();
    pthread_t thread;
    live = m.ram;
    PLACE(m.ram, CODE, writer);
    pthread_create(&thread, NULL, changer, NULL);
    while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
        CHECK(hv_vcpu_run_until(m.vcpu, mach_absolute_time() + 2000000));
        const uint64_t reason = vmcs(m.vcpu, VMCS_RO_EXIT_REASON);
        EXPECT(reason == VMX_REASON_EPT_VIOLATION || reason == VMX_REASON_VMX_TIMER_EXPIRED);
        if (reason == VMX_REASON_EPT_VIOLATION) __atomic_add_fetch(&violations, 1, __ATOMIC_RELEASE);
    }
    pthread_join(thread, NULL);
    end_machine(m);
    puts("ok");
    return 0;
}
