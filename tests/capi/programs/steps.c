/* The monitor trap: every run is one instruction, and the exit finds RIP behind it. */
#include "guest.h"

GUEST(plain, 16, "mov ax, 1; add ax, 2; jmp 0f; nop; nop\n0: push ax; pop bx; call 1f; hlt\n1: ret");
GUEST(strings, 16, "rep stosb; nop; hlt");
GUEST(interrupts, 16, "int 0x21; nop; hlt");
GUEST(handler, 16, "nop; iret");
GUEST(leaves, 16, "nop; cpuid; nop; hlt");

enum { HANDLER = 0x2000 };
static struct machine m;

static void start(const uint8_t *code, const uint8_t *end) {
    memcpy(m.ram + CODE, code, (size_t)(end - code));
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    set_reg(m.vcpu, HV_X86_RSP, STACK);
}

static void step_to(uint64_t rip) {
    RUN_TO(m.vcpu, VMX_REASON_MTF);
    SAME(reg(m.vcpu, HV_X86_RIP), rip);
}

static void one_instruction_each(void) {
    static const int after[] = {3, 6, 10, 11, 12, 16, 15}; /* where each instruction leads */
    start(plain, plain_end);
    for (size_t n = 0; n < sizeof after / sizeof *after; ++n) step_to(CODE + (uint64_t)after[n]);
    SAME(reg(m.vcpu, HV_X86_RBX) & 0xffff, 3);
    RUN_TO(m.vcpu, VMX_REASON_HLT); /* what exits by itself makes its own exit, and has not happened */
    SAME(reg(m.vcpu, HV_X86_RIP), CODE + 15);
}

/* Of a repeated string instruction every round is a step. Intel SDM vol. 3, "Monitor Trap Flag". */
static void a_round_is_a_step(void) {
    start(strings, strings_end);
    set_reg(m.vcpu, HV_X86_RCX, 3);
    set_reg(m.vcpu, HV_X86_RDI, 0x3000);
    for (uint64_t left = 2; left; --left) {
        step_to(CODE);
        SAME(reg(m.vcpu, HV_X86_RCX), left);
    }
    uint64_t rip = CODE;
    while (rip == CODE) { /* whether the end of the count is a step of its own is the processor's */
        RUN_TO(m.vcpu, VMX_REASON_MTF);
        rip = reg(m.vcpu, HV_X86_RIP);
    }
    SAME(rip, CODE + 2);
    SAME(reg(m.vcpu, HV_X86_RCX), 0);
    step_to(CODE + 3);
}

static void into_a_handler_and_out(void) {
    set_vector(m.ram, 0x21, HANDLER);
    PLACE(m.ram, HANDLER, handler);
    start(interrupts, interrupts_end);
    step_to(HANDLER); /* INT is done once the handler stands ready */
    step_to(HANDLER + 1);
    step_to(CODE + 2);
    start(interrupts, interrupts_end); /* an injected event is a step too: no instruction of the handler has run */
    set_reg(m.vcpu, HV_X86_RFLAGS, 0x202);
    set_vmcs(m.vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO, 0x21 | IRQ_INFO_VALID);
    step_to(HANDLER);
    step_to(HANDLER + 1);
    step_to(CODE);
    set_reg(m.vcpu, HV_X86_RFLAGS, 2);
}

/* Exits that the client answers by moving RIP are between the steps, and none of them. */
static void between_exits(void) {
    start(leaves, leaves_end);
    step_to(CODE + 1);
    RUN_TO(m.vcpu, VMX_REASON_CPUID);
    skip(m.vcpu);
    step_to(CODE + 4);
    set_exits(m.vcpu, 0); /* off again */
    RUN_TO(m.vcpu, VMX_REASON_HLT);
}

int main(void) {
    m = make_machine();
    EXPECT(capability(HV_VMX_CAP_PROCBASED) >> 32 & CPU_BASED_MTF);
    set_exits(m.vcpu, CPU_BASED_MTF);
    one_instruction_each();
    a_round_is_a_step();
    into_a_handler_and_out();
    between_exits();
    end_machine(m);
    puts("ok");
    return 0;
}
