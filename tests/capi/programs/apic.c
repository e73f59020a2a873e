/* Interrupt controllers of the framework (HV_VM_ACCEL_APIC): HLT waits inside the run, interrupts come from any thread,
 * and
 * hv_vcpu_exit_info says what is left to the client: starting processors, ends of interrupt, illegal accesses. */
#include <pthread.h>
#include <unistd.h>

#include "guest.h"

enum { VECTOR = 0x41, HANDLER = 0x2000, PORT_HANDLER = 0x80, PORT_CODE = 0x81, APIC_WRITE = 56, LEVEL_PIN = 9 };
enum { TPR = 0x80, SVR = 0xf0, ICR = 0x300, TIMER = 0x320, COUNT = 0x380, LINT0 = 0x350, IN_SERVICE_2 = 0x120 };
enum { APIC_BASE_MSR = 0x1b, X2APIC_ON = 0xfee00d00, XAPIC_ON = 0xfee00900 }; /* with "bootstrap processor" */

GUEST(sleeper, 16, "sti; hlt; out 0x81, al");
GUEST(interrupted, 16,
      "out 0x80, al; mov ecx, 0x80b; xor eax, eax; xor edx, edx; wrmsr; iret"); /* with end of interrupt */
GUEST(bad_write, 16, "mov ecx, 0x808; mov eax, 0x100; xor edx, edx; wrmsr; out 0x81, al");
GUEST(by_memory, 16, "mov eax, [0x30]; mov dword ptr [0x80], 0x30; out 0x81, al"); /* DS is on the APIC page */
GUEST(starter, 16, /* INIT and start-up for processor 1, then sleeps until that has sent an interrupt */
      "mov ecx, 0x830; mov edx, 1; mov eax, 0x4500; wrmsr; mov eax, 0x4609; wrmsr; sti; hlt; out 0x81, al");
GUEST(started, 16,
      "mov ax, cs; mov word ptr cs:[0x100], ax; mov ecx, 0x830; xor edx, edx; mov eax, 0x4041; wrmsr; hlt");

static struct machine m;

static void enable(hv_vcpuid_t vcpu) {
    CHECK(hv_vcpu_write_msr(vcpu, APIC_BASE_MSR, X2APIC_ON));
    bool no_side_effect = false;
    CHECK(hv_vcpu_apic_write(vcpu, SVR, 0x1ff, &no_side_effect));
    EXPECT(no_side_effect);
}

static void make(void) {
    CHECK(hv_vm_create(HV_VM_ACCEL_APIC));
    m.ram = map_ram();
    m.vcpu = make_real_mode_vcpu();
    PLACE(m.ram, HANDLER, interrupted);
    set_vector(m.ram, VECTOR, HANDLER);
    enable(m.vcpu);
}

static uint64_t run(uint64_t deadline) {
    CHECK(hv_vcpu_run_until(m.vcpu, deadline));
    return vmcs(m.vcpu, VMCS_RO_EXIT_REASON);
}

static hv_vm_exitinfo_t info(void) {
    hv_vm_exitinfo_t code = 0;
    CHECK(hv_vcpu_exit_info(m.vcpu, &code));
    return code;
}

static void start(const uint8_t *code, const uint8_t *end) {
    memcpy(m.ram + CODE, code, (size_t)(end - code));
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    set_reg(m.vcpu, HV_X86_RSP, STACK);
    set_reg(m.vcpu, HV_X86_RFLAGS, 2);
    set_vmcs(m.vcpu, VMCS_GUEST_ACTIVITY_STATE, 0);
    set_vmcs(m.vcpu, VMCS_GUEST_INTERRUPTIBILITY, 0);
}
#define START(name) start(name, name##_end)

static void to_port(uint64_t port) {
    SAME(run(HV_DEADLINE_FOREVER), VMX_REASON_IO);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC) >> 16, port);
    SAME(info(), HV_VM_EXITINFO_VMX);
    skip(m.vcpu);
}

/* The handler runs, ends the interrupt, and the guest is awake behind its HLT. */
static void interrupted_and_on(void) {
    to_port(PORT_HANDLER);
    to_port(PORT_CODE);
}

static void *sends(void *unused) {
    (void)unused;
    usleep(20000);
    CHECK(hv_vm_lapic_set_intr(m.vcpu, VECTOR, HV_APIC_EDGE_TRIGGER));
    return NULL;
}

static void halt_waits_inside(void) {
    pthread_t thread;
    uint64_t idle = 0;
    REFUSED(HV_UNSUPPORTED, hv_vcpu_run(m.vcpu)); /* this one does not wait */
    START(sleeper);
    for (int tries = 0; tries < 50 && idle < 10000000; ++tries) { /* a busy host may let us wait before the run, too */
        SAME(run(mach_absolute_time() + 20000000), VMX_REASON_VMX_TIMER_EXPIRED);
        SAME(info(), HV_VM_EXITINFO_VMX);
        CHECK(hv_vcpu_get_idle_time(m.vcpu, &idle));
    }
    EXPECT(idle >= 10000000);
    CHECK(hv_vcpu_interrupt(&m.vcpu, 1)); /* a kick ends the waiting too */
    SAME(run(HV_DEADLINE_FOREVER), VMX_REASON_IRQ);
    pthread_create(&thread, NULL, sends, NULL);
    interrupted_and_on();
    pthread_join(thread, NULL);
}

/* Each way to send one. */
static void senders(void) {
    for (int way = 0; way < 6; ++way) {
        START(sleeper);
        CHECK(hv_vm_ioapic_write(0xfec00000, 0x10 + 2 * LEVEL_PIN));
        CHECK(hv_vm_ioapic_write(0xfec00010, VECTOR));
        bool nothing_left = false;
        switch (way) {
            case 0: CHECK(hv_vm_lapic_set_intr(m.vcpu, VECTOR, HV_APIC_LEVEL_TRIGGER)); break;
            case 1: CHECK(hv_vm_lapic_msi(0xfee00000, VECTOR)); break;
            case 2: CHECK(hv_vm_ioapic_pulse_irq(LEVEL_PIN)); break;
            case 3: CHECK(hv_vm_send_ioapic_intr(VECTOR)); break;
            case 4: /* to itself */
                CHECK(hv_vcpu_apic_write(m.vcpu, ICR, 0x40000 | VECTOR, &nothing_left));
                EXPECT(nothing_left);
                break;
            default: /* its timer */
                CHECK(hv_vcpu_apic_write(m.vcpu, TIMER, VECTOR, &nothing_left));
                CHECK(hv_vcpu_apic_write(m.vcpu, COUNT, 1000, &nothing_left));
        }
        interrupted_and_on();
        uint32_t in_service = 1;
        CHECK(hv_vcpu_apic_read(m.vcpu, IN_SERVICE_2, &in_service));
        SAME(in_service, 0);
    }
}

/* The old pair of controllers: the client hands port accesses on, and lets the vCPU take what the pair has. */
static void the_old_controllers(void) {
    static const struct {
        int port;
        uint8_t value;
    } setup[] = {{0x20, 0x11}, {0x21, VECTOR - 1}, {0x21, 4}, {0x21, 1}, {0x21, 0xfd}};
    uint8_t mask = 0;
    bool nothing_left;
    for (size_t n = 0; n < sizeof setup / sizeof *setup; ++n)
        CHECK(hv_vm_atpic_port_write(setup[n].port, setup[n].value));
    CHECK(hv_vm_atpic_port_read(0x21, &mask));
    SAME(mask, 0xfd);
    CHECK(hv_vcpu_apic_write(m.vcpu, LINT0, 0x10000, &nothing_left)); /* masked: the client does it */
    START(sleeper);
    CHECK(hv_vm_atpic_assert_irq(1));
    CHECK(hv_vm_atpic_deassert_irq(1));
    CHECK(hv_vcpu_inject_extint(m.vcpu));
    REFUSED(HV_BUSY, hv_vcpu_inject_extint(m.vcpu)); /* one at a time */
    interrupted_and_on();
}

/* The end of a level-triggered interrupt is told, where the client wants to know it. */
static void ends_of_interrupt(void) {
    uint8_t vector = 0;
    uint32_t value = 0;
    CHECK(hv_vcpu_apic_ctrl(m.vcpu, HV_APIC_CTRL_IOAPIC_EOI));
    START(sleeper);
    CHECK(hv_vm_lapic_set_intr(m.vcpu, VECTOR, HV_APIC_LEVEL_TRIGGER));
    to_port(PORT_HANDLER);
    SAME(run(HV_DEADLINE_FOREVER), APIC_WRITE);
    SAME(info(), HV_VM_EXITINFO_IOAPIC_EOI);
    CHECK(hv_vcpu_exit_ioapic_eoi(m.vcpu, &vector));
    SAME(vector, VECTOR);
    REFUSED(HV_ERROR, hv_vcpu_exit_apic_access_read(m.vcpu, &value)); /* another exit has that */
    to_port(PORT_CODE);
    CHECK(hv_vcpu_apic_ctrl(m.vcpu, HV_APIC_CTRL_DEFAULT));
}

/* Reserved bits: the guest has earned a #GP, which the client is to inject. */
static void an_illegal_write(void) {
    uint8_t vector = 0;
    bool valid = false, restart = false;
    uint32_t code = 1;
    START(bad_write);
    run(HV_DEADLINE_FOREVER);
    SAME(info(), HV_VM_EXITINFO_INJECT_EXCP);
    CHECK(hv_vcpu_exit_inject_excp(m.vcpu, &vector, &valid, &code, &restart));
    SAME(vector, 13);
    EXPECT(valid && code == 0);
}

/* In xAPIC mode its registers are memory, and their accesses no exits. */
static void the_page_of_registers(void) {
    uint32_t priority = 0;
    CHECK(hv_vcpu_write_msr(m.vcpu, APIC_BASE_MSR, 0xfee00100)); /* x2APIC mode is only left by way of "off" */
    CHECK(hv_vcpu_write_msr(m.vcpu, APIC_BASE_MSR, XAPIC_ON));
    set_vmcs(m.vcpu, VMCS_GUEST_DS_BASE, 0xfee00000);
    START(by_memory);
    to_port(PORT_CODE);
    EXPECT((reg(m.vcpu, HV_X86_RAX) & 0xff) >= 0x10); /* the version of an APIC that is no 82489DX */
    CHECK(hv_vcpu_apic_read(m.vcpu, TPR, &priority));
    SAME(priority, 0x30);
    SAME(reg(m.vcpu, HV_X86_TPR), 0x30);
    set_vmcs(m.vcpu, VMCS_GUEST_DS_BASE, 0);
    set_reg(m.vcpu, HV_X86_TPR, 0);
    enable(m.vcpu);
}

/* A second processor: INIT and start-up leave to the client, which sets it going on a thread of its own. */
static pthread_barrier_t made, start_it;
static uint64_t start_address;

static void *second_processor(void *id) {
    const hv_vcpuid_t vcpu = *(hv_vcpuid_t *)id = make_real_mode_vcpu();
    enable(vcpu);
    pthread_barrier_wait(&made);
    pthread_barrier_wait(&start_it);
    set_vmcs(vcpu, VMCS_GUEST_CS, start_address >> 4);
    set_vmcs(vcpu, VMCS_GUEST_CS_BASE, start_address);
    set_reg(vcpu, HV_X86_RIP, 0);
    CHECK(hv_vcpu_run_until(vcpu, HV_DEADLINE_FOREVER)); /* sends the interrupt, and sleeps until it is kicked */
    SAME(vmcs(vcpu, VMCS_RO_EXIT_REASON), VMX_REASON_IRQ);
    CHECK(hv_vcpu_destroy(vcpu));
    return NULL;
}

static void starting_a_processor(void) {
    pthread_t thread;
    hv_vcpuid_t second = 0;
    bool whom[4] = {true, false, true, true};
    pthread_barrier_init(&made, NULL, 2);
    pthread_barrier_init(&start_it, NULL, 2);
    pthread_create(&thread, NULL, second_processor, &second);
    pthread_barrier_wait(&made);
    SAME(second, 1);
    PLACE(m.ram, 0x9000, started);
    START(starter);
    SAME(run(HV_DEADLINE_FOREVER), APIC_WRITE);
    SAME(info(), HV_VM_EXITINFO_INIT_AP);
    CHECK(hv_vcpu_exit_init_ap(m.vcpu, whom, 3));
    EXPECT(!whom[0] && whom[1] && !whom[2] && whom[3]); /* the fourth is beyond the count */
    REFUSED(HV_ERROR, hv_vcpu_exit_startup_ap(m.vcpu, whom, 3, &start_address));
    SAME(run(HV_DEADLINE_FOREVER), APIC_WRITE);
    SAME(info(), HV_VM_EXITINFO_STARTUP_AP);
    CHECK(hv_vcpu_exit_startup_ap(m.vcpu, whom, 3, &start_address));
    EXPECT(!whom[0] && whom[1] && !whom[2]);
    SAME(start_address, 0x9000);
    pthread_barrier_wait(&start_it);
    interrupted_and_on(); /* asleep until the other's interrupt */
    SAME(m.ram[0x9100] | m.ram[0x9101] << 8, 0x900); /* its code segment */
    CHECK(hv_vcpu_interrupt(&second, 1));
    pthread_join(thread, NULL);
}

/* States go out and in again, in a struct that carries its version. */
static void states(void) {
    hv_apic_state_ext_t local;
    hv_ioapic_state_ext_t io;
    bool nothing_left;
    memset(&local, 0, sizeof local);
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_apic_get_state(m.vcpu, &local)); /* no version */
    local.version = HV_APIC_STATE_EXT_VER;
    CHECK(hv_vcpu_apic_write(m.vcpu, TPR, 0x50, &nothing_left));
    CHECK(hv_vcpu_apic_get_state(m.vcpu, &local));
    SAME(local.state.tpr, 0x50);
    SAME(local.state.svr, 0x1ff);
    SAME(local.state.apic_gpa, 0xfee00000);
    CHECK(hv_vcpu_apic_write(m.vcpu, TPR, 0, &nothing_left));
    CHECK(hv_vcpu_apic_put_state(m.vcpu, &local));
    SAME(reg(m.vcpu, HV_X86_TPR), 0x50);
    CHECK(hv_vcpu_write_msr(m.vcpu, 0x808, 0x70)); /* the same register, by x2APIC's number for it, */
    SAME(reg(m.vcpu, HV_X86_TPR), 0x70);
    set_reg(m.vcpu, HV_X86_TPR, 0x20); /* and by CR8's */
    CHECK(hv_vcpu_apic_get_state(m.vcpu, &local));
    SAME(local.state.tpr, 0x20);
    memset(&io, 0, sizeof io);
    io.version = HV_IOAPIC_STATE_EXT_VER;
    CHECK(hv_vm_ioapic_get_state(&io));
    SAME(io.state.rtbl[LEVEL_PIN], VECTOR);
    CHECK(hv_vm_ioapic_put_state(&io));
}

static void without_the_option(void) {
    uint32_t value = 0;
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    const hv_vcpuid_t vcpu = make_real_mode_vcpu();
    REFUSED(HV_UNSUPPORTED, hv_vcpu_apic_read(vcpu, TPR, &value));
    REFUSED(HV_UNSUPPORTED, hv_vm_lapic_msi(0xfee00000, VECTOR));
    CHECK(hv_vcpu_destroy(vcpu));
    CHECK(hv_vm_destroy());
}

int main(void) {
    without_the_option();
    make();
    halt_waits_inside();
    senders();
    the_old_controllers();
    ends_of_interrupt();
    an_illegal_write();
    the_page_of_registers();
    starting_a_processor();
    states();
    end_machine(m);
    puts("ok");
    return 0;
}
