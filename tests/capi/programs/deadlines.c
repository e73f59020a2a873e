/* hv_vcpu_run_until: deadlines that have passed, that come soon, that never come; and the VMX-preemption timer. */
#include <pthread.h>
#include <unistd.h>

#include "guest.h"

GUEST(count, 16, "0: inc dword ptr [0x3000]; jmp 0b");

enum { COUNTER = 0x3000 };
static const uint64_t MILLISECOND = 1000000; /* a tick is a nanosecond */
static struct machine m;

static uint32_t counted(void) {
    uint32_t value;
    memcpy(&value, m.ram + COUNTER, sizeof value);
    return value;
}

static void run_until(uint64_t deadline, uint64_t reason) {
    CHECK(hv_vcpu_run_until(m.vcpu, deadline));
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), reason);
}

static void one_that_has_passed(void) {
    const uint64_t before = mach_absolute_time();
    for (int n = 0; n < 100; ++n) run_until(n % 2 ? 0 : before, VMX_REASON_VMX_TIMER_EXPIRED);
    EXPECT(mach_absolute_time() - before < 1000 * MILLISECOND); /* promptly, on any machine */
}

static void one_that_comes_soon(void) {
    for (int n = 0; n < 10; ++n) {
        const uint32_t before = counted();
        const uint64_t soon = mach_absolute_time() + 2 * MILLISECOND;
        run_until(soon, VMX_REASON_VMX_TIMER_EXPIRED);
        EXPECT(mach_absolute_time() >= soon);
        EXPECT(counted() != before); /* and until then the guest has run */
        EXPECT(reg(m.vcpu, HV_X86_RIP) - CODE < (uint64_t)(count_end - count)); /* where it can go on */
    }
}

/* It comes when it is due, not some time later. A busy host may be late, but not each of many times. */
static void in_time(void) {
    uint64_t late = UINT64_MAX;
    for (int n = 0; n < 200 && late >= MILLISECOND; ++n) {
        const uint64_t soon = mach_absolute_time() + MILLISECOND;
        run_until(soon, VMX_REASON_VMX_TIMER_EXPIRED);
        late = mach_absolute_time() - soon;
    }
    EXPECT(late < MILLISECOND);
}

/* An exit of the guest comes before a deadline that is far away; the same deadline goes on for the next run. */
static void one_that_is_not_reached(void) {
    const uint64_t far = mach_absolute_time() + 3600000 * MILLISECOND;
    m.ram[0x2000] = HLT;
    for (int n = 0; n < 3; ++n) {
        set_reg(m.vcpu, HV_X86_RIP, 0x2000);
        run_until(far, VMX_REASON_HLT);
    }
    set_reg(m.vcpu, HV_X86_RIP, CODE);
}

static void *kick_later(void *unused) {
    (void)unused;
    usleep(20000);
    CHECK(hv_vcpu_interrupt(&m.vcpu, 1));
    return NULL;
}

static void forever_ends_with_a_kick(void) {
    pthread_t thread;
    const uint64_t before = mach_absolute_time();
    pthread_create(&thread, NULL, kick_later, NULL);
    run_until(HV_DEADLINE_FOREVER, VMX_REASON_IRQ);
    EXPECT(mach_absolute_time() - before >= 19 * MILLISECOND);
    pthread_join(thread, NULL);
}

/* A kick before the run counts for it, and once. */
static void a_kick_that_came_before(void) {
    CHECK(hv_vcpu_interrupt(&m.vcpu, 1));
    CHECK(hv_vcpu_interrupt(&m.vcpu, 1));
    const uint32_t before = counted();
    run_until(HV_DEADLINE_FOREVER, VMX_REASON_IRQ);
    SAME(counted(), before);
    run_until(mach_absolute_time() + MILLISECOND, VMX_REASON_VMX_TIMER_EXPIRED);
    EXPECT(counted() != before);
}

/* The VMX-preemption timer of the client counts down while the guest runs, and leaves with the same reason. */
static void the_preemption_timer(void) {
    EXPECT(capability(HV_VMX_CAP_PINBASED) >> 32 & PIN_BASED_PREEMPTION_TIMER);
    set_control(m.vcpu, VMCS_CTRL_PIN_BASED, HV_VMX_CAP_PINBASED, PIN_BASED_PREEMPTION_TIMER);
    set_vmcs(m.vcpu, VMCS_GUEST_VMX_TIMER_VALUE, 0);
    const uint32_t before = counted();
    RUN_TO(m.vcpu, VMX_REASON_VMX_TIMER_EXPIRED);
    SAME(counted(), before); /* 0: before the first instruction */
    set_vmcs(m.vcpu, VMCS_GUEST_VMX_TIMER_VALUE, 100000);
    RUN_TO(m.vcpu, VMX_REASON_VMX_TIMER_EXPIRED);
    EXPECT(counted() != before);
    set_control(m.vcpu, VMCS_CTRL_PIN_BASED, HV_VMX_CAP_PINBASED, 0);
}

static void times(void) {
    uint64_t before = 0, after = 0;
    CHECK(hv_vcpu_get_exec_time(m.vcpu, &before));
    run_until(mach_absolute_time() + 5 * MILLISECOND, VMX_REASON_VMX_TIMER_EXPIRED);
    CHECK(hv_vcpu_get_exec_time(m.vcpu, &after));
    EXPECT(after > before && after - before >= MILLISECOND);
}

int main(void) {
    m = make_machine();
    PLACE(m.ram, CODE, count);
    one_that_has_passed();
    one_that_comes_soon();
    in_time();
    one_that_is_not_reached();
    forever_ends_with_a_kick();
    a_kick_that_came_before();
    the_preemption_timer();
    times();
    end_machine(m);
    puts("ok");
    return 0;
}
