/* A 64-bit guest with page tables, an interrupt table, a task-state segment and a program at CPL 3, all built by the
 * client. The guest's handlers take its faults: the client sees none of them, only the ports. */
#include "guest.h"

enum {
    GDT = 0x2000, IDT = 0x3000, TSS = 0x4000, HANDLERS = 0x5000, USER = 0x6000, /* of one page each */
    INNER_STACK = 0x7000, FAULT_STACK = 0x7800, PAGE_TABLE = 0xa000, LATE = 0x40000000, LATE_PAGE = 0xb000,
    CODE0 = 8, DATA0 = 16, DATA3 = 24 | 3, CODE3 = 32 | 3, TASK = 40,
    PORT_STEP = 0x80,
};

/* Every `out PORT_STEP` is a step that the client waits for, with what happened in RAX. */
GUEST(kernel, 64,
      "mov rax, 0x1122334455667788; out 0x80, eax;"
      "mov rbx, 0x40000000; mov qword ptr [rbx + 8], 0x55; mov rax, [rbx + 8]; out 0x80, eax;" /* no page yet */
      "ud2; mov eax, 0x77; out 0x80, eax;"
      "int 0x80; out 0x80, eax;"
      "sti\n"
      "0: cmp r15, 1; jne 0b; cli; mov eax, 0x99; out 0x80, eax;" /* until the client's interrupt has come */
      "mov rcx, 0xc0000082; lea rax, [rip + from_user]; mov rdx, rax; shr rdx, 32; wrmsr;" /* LSTAR, native */
      "push 27; push 0x6ff0; push 0x202; push 35; push 0x6000; iretq\n" /* to CPL 3: SS, RSP, RFLAGS, CS, RIP */
      "from_user: out 0x80, eax; hlt");
GUEST(on_page_fault, 64, /* maps the page and lets the instruction go again */
      "push rax; mov rax, cr2; mov r14, rax; mov rax, [rsp + 8]; mov r13, rax; mov qword ptr [0xa000], 0xb003;"
      "pop rax; add rsp, 8; iretq");
GUEST(on_bad_opcode, 64, "add qword ptr [rsp], 2; inc r12; iretq");
GUEST(on_call, 64, "mov eax, 0x88; iretq");
GUEST(on_interrupt, 64, "mov r15, 1; iretq");
GUEST(user, 64, "mov r11d, 0; mov rax, [0x6100]; syscall"); /* SYSCALL comes back in from_user */
GUEST(on_protection, 64, "mov eax, 0xbad; out 0x80, eax");

static struct machine m;

static void gate(unsigned vector, uint32_t handler, unsigned type, unsigned ist) {
    uint8_t *at = m.ram + IDT + 16 * vector;
    store64(at, (handler & 0xffff) | CODE0 << 16 | (uint64_t)ist << 32 | (uint64_t)type << 40 |
                    (uint64_t)(handler >> 16) << 48);
    store64(at + 8, 0);
}

static uint32_t place_handler(const uint8_t *from, const uint8_t *to) {
    static uint32_t next = HANDLERS;
    const uint32_t at = next;
    memcpy(m.ram + at, from, (size_t)(to - from));
    next = (at + (uint32_t)(to - from) + 15) & ~15U;
    return at;
}
#define HANDLER(name) place_handler(name, name##_end)

enum { GATE = 0x8e, GATE_FOR_ALL = 0xee };

static void build_tables(void) {
    static const uint64_t descriptors[] = {
        0, 0x00209b0000000000, 0x0000930000000000, 0x0000f30000000000, 0x0020fb0000000000, /* code, data */
        0x0000890000000067 | (uint64_t)(TSS & 0xffffff) << 16, 0,
    };
    memcpy(m.ram + GDT, descriptors, sizeof descriptors);
    store64(m.ram + TSS + 4, INNER_STACK + 0x700);
    store64(m.ram + TSS + 0x24, FAULT_STACK + 0x700); /* IST1 */
    gate(14, HANDLER(on_page_fault), GATE, 1);
    gate(6, HANDLER(on_bad_opcode), GATE, 0);
    gate(13, HANDLER(on_protection), GATE, 0);
    gate(0x80, HANDLER(on_call), GATE_FOR_ALL, 0);
    gate(0x41, HANDLER(on_interrupt), GATE, 0);
    /* Beside the first 2 MiB, the tables lead for LATE to a page table with nothing in it. */
    store64(m.ram + TABLES + PAGE + 8, (TABLES + 3 * PAGE) | PRESENT_WRITABLE_USER);
    store64(m.ram + TABLES + 3 * PAGE, PAGE_TABLE | PRESENT_WRITABLE_USER);
}

static void set_state(void) {
    long_mode(m.vcpu, m.ram);
    set_vmcs(m.vcpu, VMCS_CTRL_EXC_BITMAP, 0); /* the guest's faults are the guest's */
    set_vmcs(m.vcpu, VMCS_GUEST_IA32_EFER, 0x501); /* SCE: SYSCALL is there */
    set_vmcs(m.vcpu, VMCS_GUEST_GDTR_BASE, GDT);
    set_vmcs(m.vcpu, VMCS_GUEST_GDTR_LIMIT, 7 * 8 - 1);
    set_vmcs(m.vcpu, VMCS_GUEST_IDTR_BASE, IDT);
    set_vmcs(m.vcpu, VMCS_GUEST_IDTR_LIMIT, 0xfff);
    set_vmcs(m.vcpu, VMCS_GUEST_CS, CODE0);
    set_vmcs(m.vcpu, VMCS_GUEST_SS, DATA0);
    set_vmcs(m.vcpu, VMCS_GUEST_TR, TASK);
    set_vmcs(m.vcpu, VMCS_GUEST_TR_BASE, TSS);
    set_vmcs(m.vcpu, VMCS_GUEST_TR_LIMIT, 0x67);
    CHECK(hv_vcpu_enable_native_msr(m.vcpu, HV_MSR_IA32_STAR, true));
    CHECK(hv_vcpu_enable_native_msr(m.vcpu, HV_MSR_IA32_LSTAR, true));
    CHECK(hv_vcpu_enable_native_msr(m.vcpu, HV_MSR_IA32_FMASK, true));
    CHECK(hv_vcpu_write_msr(m.vcpu, HV_MSR_IA32_STAR, (uint64_t)CODE0 << 32 | (uint64_t)DATA0 << 48));
    CHECK(hv_vcpu_write_msr(m.vcpu, HV_MSR_IA32_FMASK, 0x200));
}

static void step_shows(uint32_t value) {
    RUN_TO(m.vcpu, VMX_REASON_IO);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC) >> 16, PORT_STEP);
    SAME((uint32_t)reg(m.vcpu, HV_X86_RAX), value);
    skip(m.vcpu);
}

int main(void) {
    m = make_machine();
    PLACE(m.ram, CODE, kernel);
    PLACE(m.ram, USER, user);
    store32(m.ram + USER + 0x100, 0xaa);
    set_state();
    build_tables();

    step_shows(0x55667788);
    SAME(reg(m.vcpu, HV_X86_RAX), 0x1122334455667788);
    step_shows(0x55); /* through the page-fault handler */
    SAME(reg(m.vcpu, HV_X86_R14), LATE + 8); /* CR2 */
    SAME(reg(m.vcpu, HV_X86_R13), 2); /* error code: a write, of CPL 0, to nothing */
    SAME(m.ram[LATE_PAGE + 8], 0x55);
    step_shows(0x77);
    SAME(reg(m.vcpu, HV_X86_R12), 1);
    step_shows(0x88);

    CHECK(hv_vcpu_run_until(m.vcpu, mach_absolute_time() + 1000000)); /* it waits with interrupts on */
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), VMX_REASON_VMX_TIMER_EXPIRED);
    set_vmcs(m.vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO, 0x41 | IRQ_INFO_VALID);
    step_shows(0x99);

    step_shows(0xaa); /* went to CPL 3 by IRETQ, and came back by SYSCALL */
    SAME(reg(m.vcpu, HV_X86_CS), CODE0);
    SAME(reg(m.vcpu, HV_X86_R11) & 0x200, 0x200); /* the flags of CPL 3 */
    SAME(reg(m.vcpu, HV_X86_RFLAGS) & 0x200, 0);
    SAME(reg(m.vcpu, HV_X86_RCX), USER + (uint64_t)(user_end - user));
    RUN_TO(m.vcpu, VMX_REASON_HLT);

    set_vmcs(m.vcpu, VMCS_CTRL_VMENTRY_EXC_ERROR, 0x1234); /* an error code for the guest's handler */
    set_vmcs(m.vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO, 14 | IRQ_INFO_HARD_EXC | IRQ_INFO_ERROR_VALID | IRQ_INFO_VALID);
    set_reg(m.vcpu, HV_X86_CR2, 0xabcd000);
    RUN_TO(m.vcpu, VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_R13), 0x1234);
    SAME(reg(m.vcpu, HV_X86_R14), 0xabcd000);
    end_machine(m);
    puts("ok");
    return 0;
}
