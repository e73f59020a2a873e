/* Events that the client injects: what is pushed, what is cleared, what must wait for a window, and what comes back. */
#include "guest.h"

GUEST(idle, 16, "nop; nop; nop; hlt");
GUEST(open_window, 16, "cli; nop; sti; nop; hlt");
GUEST(handler, 16, "out 0x80, al; iret");

enum { HANDLER = 0x2000, VECTOR = 0x21, FLAGS = 0x202 };
static struct machine m;

static void inject(uint64_t info, uint64_t length) {
    set_vmcs(m.vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO, info | IRQ_INFO_VALID);
    set_vmcs(m.vcpu, VMCS_CTRL_VMENTRY_INSTR_LEN, length);
}

static void restart(const uint8_t *code, const uint8_t *end) {
    memcpy(m.ram + CODE, code, (size_t)(end - code));
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    set_reg(m.vcpu, HV_X86_RSP, STACK);
    set_reg(m.vcpu, HV_X86_RFLAGS, FLAGS);
    set_vmcs(m.vcpu, VMCS_GUEST_INTERRUPTIBILITY, 0);
    set_vmcs(m.vcpu, VMCS_GUEST_ACTIVITY_STATE, 0);
}

/* 0: IP, 1: CS, 2: FLAGS. */
static uint16_t pushed(int n) { return (uint16_t)(m.ram[STACK - 6 + 2 * n] | m.ram[STACK - 5 + 2 * n] << 8); }

/* Runs into the handler: the event is delivered before any instruction, with this return address. */
static void delivered(uint64_t return_to) {
    RUN_TO(m.vcpu, VMX_REASON_IO);
    SAME(reg(m.vcpu, HV_X86_RIP), HANDLER);
    SAME(reg(m.vcpu, HV_X86_RSP), STACK - 6);
    SAME(pushed(0), return_to);
    SAME(pushed(1), 0);
    SAME(pushed(2), FLAGS);
    SAME(reg(m.vcpu, HV_X86_RFLAGS) & 0x200, 0); /* IF */
    SAME(vmcs(m.vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO) >> 31, 0); /* taken, and only once */
    skip(m.vcpu);
    RUN_TO(m.vcpu, VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_RSP), STACK);
}

static void every_type(void) {
    static const struct {
        unsigned vector;
        uint64_t type, length, return_to;
    } rows[] = {
        {VECTOR, IRQ_INFO_EXT_IRQ, 0, CODE},
        {2, IRQ_INFO_NMI, 0, CODE},
        {6, IRQ_INFO_HARD_EXC, 0, CODE},
        {VECTOR, IRQ_INFO_SOFT_IRQ, 2, CODE + 2},
        {VECTOR, IRQ_INFO_SOFT_IRQ, 3, CODE + 3}, /* the length that the client says, not the one of the code */
        {1, IRQ_INFO_PRIV_SOFT_EXC, 1, CODE + 1},
        {3, IRQ_INFO_SOFT_EXC, 1, CODE + 1},
    };
    for (size_t n = 0; n < sizeof rows / sizeof *rows; ++n) {
        set_vector(m.ram, rows[n].vector, HANDLER);
        restart(idle, idle_end);
        inject(rows[n].vector | rows[n].type, rows[n].length);
        delivered(rows[n].return_to);
    }
}

/* An external interrupt cannot enter while the guest holds interrupts off; the field keeps what was not taken. */
static void must_wait(void) {
    static const struct {
        uint64_t flags, blocking;
    } rows[] = {{2, 0}, {FLAGS, GUEST_INTRBILITY_STI_BLOCKING}, {FLAGS, GUEST_INTRBILITY_MOVSS_BLOCKING}};
    for (size_t n = 0; n < sizeof rows / sizeof *rows; ++n) {
        restart(idle, idle_end);
        set_reg(m.vcpu, HV_X86_RFLAGS, rows[n].flags);
        set_vmcs(m.vcpu, VMCS_GUEST_INTERRUPTIBILITY, rows[n].blocking);
        inject(VECTOR, 0);
        CHECK(hv_vcpu_run(m.vcpu));
        SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), 0x80000000U | VMX_REASON_VMENTRY_GUEST);
        SAME(vmcs(m.vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO), VECTOR | IRQ_INFO_VALID);
        SAME(reg(m.vcpu, HV_X86_RIP), CODE);
        set_vmcs(m.vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO, 0);
    }
}

/* So the client asks for a window: it opens behind the instruction after STI, and then the interrupt goes in. */
static void through_the_window(void) {
    set_vector(m.ram, VECTOR, HANDLER);
    restart(open_window, open_window_end);
    set_reg(m.vcpu, HV_X86_RFLAGS, 2);
    set_exits(m.vcpu, CPU_BASED_IRQ_WND);
    RUN_TO(m.vcpu, VMX_REASON_IRQ_WND);
    SAME(reg(m.vcpu, HV_X86_RIP), CODE + 4); /* cli; nop; sti; nop */
    SAME(reg(m.vcpu, HV_X86_RFLAGS), FLAGS);
    RUN_TO(m.vcpu, VMX_REASON_IRQ_WND); /* it stays open, and no instruction goes by */
    SAME(reg(m.vcpu, HV_X86_RIP), CODE + 4);
    set_exits(m.vcpu, 0);
    inject(VECTOR, 0);
    delivered(CODE + 4);
}

/* Of NMIs one at a time: blocked from the delivery to the handler's IRET; then the NMI window opens. */
static void one_nmi_at_a_time(void) {
    set_vector(m.ram, 2, HANDLER);
    set_control(m.vcpu, VMCS_CTRL_PIN_BASED, HV_VMX_CAP_PINBASED, PIN_BASED_NMI | PIN_BASED_VIRTUAL_NMI);
    restart(idle, idle_end);
    inject(2 | IRQ_INFO_NMI, 0);
    RUN_TO(m.vcpu, VMX_REASON_IO);
    SAME(vmcs(m.vcpu, VMCS_GUEST_INTERRUPTIBILITY), GUEST_INTRBILITY_NMI_BLOCKING);
    skip(m.vcpu);
    set_exits(m.vcpu, CPU_BASED_VIRTUAL_NMI_WND);
    RUN_TO(m.vcpu, VMX_REASON_VIRTUAL_NMI_WND);
    SAME(reg(m.vcpu, HV_X86_RIP), CODE); /* behind the IRET */
    SAME(vmcs(m.vcpu, VMCS_GUEST_INTERRUPTIBILITY), 0);
    set_exits(m.vcpu, 0);
    RUN_TO(m.vcpu, VMX_REASON_HLT);
    set_control(m.vcpu, VMCS_CTRL_PIN_BASED, HV_VMX_CAP_PINBASED, 0);
}

/* What could not be delivered comes back in the vectoring information; put in again, it goes. */
static void an_event_that_comes_back(void) {
    restart(idle, idle_end);
    CHECK(hv_vm_protect(STACK - PAGE, PAGE, HV_MEMORY_READ));
    inject(VECTOR, 0);
    RUN_TO(m.vcpu, VMX_REASON_EPT_VIOLATION);
    SAME(vmcs(m.vcpu, VMCS_RO_IDT_VECTOR_INFO), VECTOR | IRQ_INFO_VALID);
    SAME(reg(m.vcpu, HV_X86_RIP), CODE);
    SAME(reg(m.vcpu, HV_X86_RSP), STACK);
    SAME(vmcs(m.vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO) >> 31, 0);
    CHECK(hv_vm_protect(STACK - PAGE, PAGE, RWX));
    inject(vmcs(m.vcpu, VMCS_RO_IDT_VECTOR_INFO), 0);
    delivered(CODE);

    restart(idle, idle_end); /* the same through a table that is too small: a #GP on the way */
    set_vmcs(m.vcpu, VMCS_GUEST_IDTR_LIMIT, 0x1f);
    inject(VECTOR | IRQ_INFO_SOFT_IRQ, 2);
    RUN_TO(m.vcpu, VMX_REASON_EXC_NMI);
    SAME(vmcs(m.vcpu, VMCS_RO_VMEXIT_IRQ_INFO) & 0x7ff, 13 | IRQ_INFO_HARD_EXC);
    SAME(vmcs(m.vcpu, VMCS_RO_IDT_VECTOR_INFO), VECTOR | IRQ_INFO_SOFT_IRQ | IRQ_INFO_VALID);
    SAME(vmcs(m.vcpu, VMCS_RO_VMEXIT_INSTR_LEN), 2);
    set_vmcs(m.vcpu, VMCS_GUEST_IDTR_LIMIT, 0xffff);
    inject(vmcs(m.vcpu, VMCS_RO_IDT_VECTOR_INFO), vmcs(m.vcpu, VMCS_RO_VMEXIT_INSTR_LEN));
    delivered(CODE + 2);
}

/* A halted guest sleeps; an interrupt wakes it. */
static void waking_from_halt(void) {
    restart(idle, idle_end);
    set_vmcs(m.vcpu, VMCS_GUEST_ACTIVITY_STATE, 1);
    inject(VECTOR, 0);
    delivered(CODE);
    SAME(vmcs(m.vcpu, VMCS_GUEST_ACTIVITY_STATE), 0);
}

/* Events that no processor takes are errors of the client: the entry fails for its controls. */
static void events_that_are_none(void) {
    static const uint64_t wrong[] = {
        VECTOR | IRQ_INFO_NMI,                      /* NMI is vector 2 */
        32 | IRQ_INFO_HARD_EXC,                     /* exceptions are below 32 */
        VECTOR | 0x100,                             /* a type that is reserved */
        VECTOR | 0x1000,                            /* a bit that is reserved */
        VECTOR | IRQ_INFO_EXT_IRQ | IRQ_INFO_ERROR_VALID, /* interrupts have no error code */
    };
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; ++n) {
        restart(idle, idle_end);
        inject(wrong[n], 0);
        REFUSED(HV_ERROR, hv_vcpu_run(m.vcpu));
        SAME(vmcs(m.vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO), wrong[n] | IRQ_INFO_VALID);
        SAME(vmcs(m.vcpu, VMCS_RO_INSTR_ERROR), 7);
    }
    inject(VECTOR | IRQ_INFO_SOFT_IRQ, 16); /* no instruction is longer than 15 bytes */
    REFUSED(HV_ERROR, hv_vcpu_run(m.vcpu));
    set_vmcs(m.vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO, 0);
    RUN_TO(m.vcpu, VMX_REASON_HLT);
}

int main(void) {
    m = make_machine();
    PLACE(m.ram, HANDLER, handler);
    every_type();
    must_wait();
    through_the_window();
    one_nmi_at_a_time();
    an_event_that_comes_back();
    waking_from_halt();
    events_that_are_none();
    end_machine(m);
    puts("ok");
    return 0;
}
