/* Each kind of exit: its reason, its details, RIP on the instruction, and the instruction's length. Real mode. */
#include "guest.h"

static struct machine m;

/* Runs these bytes of code from CODE; the registers are as the caller set them. */
static void start(const uint8_t *from, const uint8_t *to) {
    memcpy(m.ram + CODE, from, (size_t)(to - from));
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    set_reg(m.vcpu, HV_X86_RFLAGS, 2);
    CHECK(hv_vcpu_run(m.vcpu));
}

/* The exit that the first instruction makes: it has not happened, and its length is known. */
static void leaves(const uint8_t *from, const uint8_t *to, uint64_t reason, uint64_t qualification, uint64_t length) {
    start(from, to);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), reason);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC), qualification);
    SAME(vmcs(m.vcpu, VMCS_RO_VMEXIT_INSTR_LEN), length);
    SAME(reg(m.vcpu, HV_X86_RIP), CODE);
    SAME(reg(m.vcpu, HV_X86_RSP), STACK);
}
#define LEAVES(name, reason, qualification) \
    leaves(name, name##_end, (reason), (qualification), (uint64_t)(name##_end - name))

GUEST(i_cpuid, 16, "cpuid");
GUEST(i_hlt, 16, "hlt");
GUEST(i_vmcall, 16, "vmcall");
GUEST(i_rdmsr, 16, "rdmsr");
GUEST(i_wrmsr, 16, "wrmsr");
GUEST(i_xsetbv, 16, "xsetbv");
GUEST(i_prefixed, 16, ".byte 0x2e, 0x66; cpuid"); /* prefixes count too */
GUEST(i_rdtsc, 16, "rdtsc");
GUEST(i_pause, 16, "pause");
GUEST(i_wbinvd, 16, "wbinvd");
GUEST(i_invlpg, 16, "invlpg [0x5678]");
GUEST(i_sgdt, 16, "sgdt [0x3000]");
GUEST(i_monitor, 16, "monitor");
GUEST(i_mwait, 16, "mwait");

static void what_always_exits(void) {
    set_reg(m.vcpu, HV_X86_RCX, HV_MSR_IA32_EFER);
    LEAVES(i_cpuid, VMX_REASON_CPUID, 0);
    LEAVES(i_prefixed, VMX_REASON_CPUID, 0);
    LEAVES(i_hlt, VMX_REASON_HLT, 0);
    LEAVES(i_vmcall, VMX_REASON_VMCALL, 0);
    LEAVES(i_rdmsr, VMX_REASON_RDMSR, 0);
    LEAVES(i_wrmsr, VMX_REASON_WRMSR, 0);
    set_reg(m.vcpu, HV_X86_CR4, 0x42000); /* OSXSAVE */
    LEAVES(i_xsetbv, VMX_REASON_XSETBV, 0);
    set_reg(m.vcpu, HV_X86_CR4, 0x2000);
}

/* Without its control an instruction runs; with it, it exits. */
static void what_a_control_makes_exit(void) {
    static const struct {
        const uint8_t *from, *to;
        uint64_t control, reason, qualification;
    } rows[] = {
        {i_rdtsc, i_rdtsc_end, CPU_BASED_RDTSC, VMX_REASON_RDTSC, 0},
        {i_pause, i_pause_end, CPU_BASED_PAUSE, VMX_REASON_PAUSE, 0},
        {i_monitor, i_monitor_end, CPU_BASED_MONITOR, VMX_REASON_MONITOR, 0},
        {i_mwait, i_mwait_end, CPU_BASED_MWAIT, VMX_REASON_MWAIT, 0},
    };
    for (size_t n = 0; n < sizeof rows / sizeof *rows; ++n) {
        set_reg(m.vcpu, HV_X86_RAX, 0);
        set_reg(m.vcpu, HV_X86_RCX, 0);
        set_reg(m.vcpu, HV_X86_RDX, 0);
        memset(m.ram + CODE, HLT, 16);
        if (capability(HV_VMX_CAP_PROCBASED) & rows[n].control) continue; /* always on */
        start(rows[n].from, rows[n].to);
        SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), VMX_REASON_HLT);
        EXPECT(capability(HV_VMX_CAP_PROCBASED) >> 32 & rows[n].control);
        set_exits(m.vcpu, rows[n].control);
        leaves(rows[n].from, rows[n].to, rows[n].reason, rows[n].qualification, (uint64_t)(rows[n].to - rows[n].from));
        set_exits(m.vcpu, 0);
    }
    set_exits(m.vcpu, CPU_BASED_INVLPG);
    LEAVES(i_invlpg, VMX_REASON_INVLPG, 0x5678);
    set_exits(m.vcpu, 0);
    set_control(m.vcpu, VMCS_CTRL_CPU_BASED2, HV_VMX_CAP_PROCBASED2, CPU_BASED2_WBINVD | CPU_BASED2_DESC_TABLE);
    LEAVES(i_wbinvd, VMX_REASON_WBINVD, 0);
    LEAVES(i_sgdt, VMX_REASON_GDTR_IDTR, 0x3000);
    set_control(m.vcpu, VMCS_CTRL_CPU_BASED2, HV_VMX_CAP_PROCBASED2, 0);
}

/* Ports: size in bits 2:0, IN 3, string 4, REP 5, immediate 6, port 31:16. */
enum { IO_IN = 8, IO_STRING = 16, IO_REP = 32, IO_IMMEDIATE = 64, IO_PORT = 1 << 16 };
GUEST(io_out_imm, 16, "out 0x80, al");
GUEST(io_out_dx16, 16, "out dx, ax");
GUEST(io_out_dx32, 16, "out dx, eax");
GUEST(io_in_dx8, 16, "in al, dx");
GUEST(io_in_imm32, 16, "in eax, 0x42");
GUEST(io_outs, 16, "outsb");
GUEST(io_rep_insw, 16, "rep insw");

static void ports(void) {
    set_reg(m.vcpu, HV_X86_RAX, 0x1122334455667788);
    set_reg(m.vcpu, HV_X86_RDX, 0x3f8);
    set_reg(m.vcpu, HV_X86_RSI, 0x3000);
    set_reg(m.vcpu, HV_X86_RDI, 0x3000);
    set_reg(m.vcpu, HV_X86_RCX, 5);
    LEAVES(io_out_imm, VMX_REASON_IO, 0x80 * IO_PORT | IO_IMMEDIATE);
    LEAVES(io_out_dx16, VMX_REASON_IO, 0x3f8 * IO_PORT | 1);
    LEAVES(io_out_dx32, VMX_REASON_IO, 0x3f8 * IO_PORT | 3);
    LEAVES(io_in_dx8, VMX_REASON_IO, 0x3f8 * IO_PORT | IO_IN);
    LEAVES(io_in_imm32, VMX_REASON_IO, 0x42 * IO_PORT | IO_IMMEDIATE | IO_IN | 3);
    SAME(reg(m.vcpu, HV_X86_RAX), 0x1122334455667788); /* all of it stays as it is */
    LEAVES(io_outs, VMX_REASON_IO, 0x3f8 * IO_PORT | IO_STRING);
    LEAVES(io_rep_insw, VMX_REASON_IO, 0x3f8 * IO_PORT | IO_STRING | IO_REP | IO_IN | 1);
    SAME(reg(m.vcpu, HV_X86_RCX), 5); /* the client iterates */
    SAME(reg(m.vcpu, HV_X86_RDI), 0x3000);
}

/* Exceptions: type and vector, and RIP where the instruction is; nothing was pushed. */
enum { EXCEPTION = 0x80000300, SOFTWARE = 0x80000600, PRIVILEGED = 0x80000500 };
GUEST(x_ud2, 16, "ud2");
GUEST(x_div, 16, "div cx");
GUEST(x_int3, 16, "int3");
GUEST(x_int1, 16, ".byte 0xf1");

static void excepts(const uint8_t *from, const uint8_t *to, uint64_t info, int length_too) {
    start(from, to);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), VMX_REASON_EXC_NMI);
    SAME(vmcs(m.vcpu, VMCS_RO_VMEXIT_IRQ_INFO), info);
    SAME(vmcs(m.vcpu, VMCS_RO_IDT_VECTOR_INFO) >> 31, 0);
    SAME(reg(m.vcpu, HV_X86_RIP), CODE);
    SAME(reg(m.vcpu, HV_X86_RSP), STACK);
    if (length_too) SAME(vmcs(m.vcpu, VMCS_RO_VMEXIT_INSTR_LEN), (uint64_t)(to - from));
}

static void exceptions(void) {
    set_reg(m.vcpu, HV_X86_RCX, 0);
    excepts(x_ud2, x_ud2_end, EXCEPTION | 6, 1); /* by the length a client steps over a SYSCALL that is not enabled */
    excepts(x_div, x_div_end, EXCEPTION | 0, 0);
    excepts(x_int3, x_int3_end, SOFTWARE | 3, 1);
    excepts(x_int1, x_int1_end, PRIVILEGED | 1, 1);
}

/* INT n through a table of limit 0: #GP, and the vectoring information has n and its kind. */
GUEST(int_21, 16, "int 0x21");

static void a_software_interrupt(void) {
    set_vmcs(m.vcpu, VMCS_GUEST_IDTR_LIMIT, 0);
    start(int_21, int_21_end);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), VMX_REASON_EXC_NMI);
    SAME(vmcs(m.vcpu, VMCS_RO_VMEXIT_IRQ_INFO) & 0x800007ff, EXCEPTION | 13);
    SAME(vmcs(m.vcpu, VMCS_RO_IDT_VECTOR_INFO), 0x80000421);
    SAME(vmcs(m.vcpu, VMCS_RO_VMEXIT_INSTR_LEN), 2);
    SAME(reg(m.vcpu, HV_X86_RIP), CODE);
    SAME(reg(m.vcpu, HV_X86_RSP), STACK);
    set_vmcs(m.vcpu, VMCS_GUEST_IDTR_LIMIT, 0xffff);
}

/* The page of a local APIC that the client models: with the control, each access to it is an exit of its own. */
GUEST(apic_read, 16, "mov eax, [0x30]");
GUEST(apic_write, 16, "mov [0x80], eax");

static void the_page_of_an_apic(void) {
    enum { PAGE_AT = 0xe000, IS_WRITE = 1 << 12 };
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_vcpu_set_apic_address(m.vcpu, PAGE_AT + 8));
    CHECK(hv_vmx_vcpu_set_apic_address(m.vcpu, PAGE_AT));
    set_control(m.vcpu, VMCS_CTRL_CPU_BASED2, HV_VMX_CAP_PROCBASED2, CPU_BASED2_VIRTUAL_APIC);
    set_vmcs(m.vcpu, VMCS_GUEST_DS_BASE, PAGE_AT);
    LEAVES(apic_read, VMX_REASON_APIC_ACCESS, 0x30);
    LEAVES(apic_write, VMX_REASON_APIC_ACCESS, 0x80 | IS_WRITE);
    set_control(m.vcpu, VMCS_CTRL_CPU_BASED2, HV_VMX_CAP_PROCBASED2, 0);
    memset(m.ram + CODE, HLT, 16);
    start(apic_read, apic_read_end); /* without it, memory */
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), VMX_REASON_HLT);
    set_vmcs(m.vcpu, VMCS_GUEST_DS_BASE, 0);
}

/* An exception that no handler takes: the third fault in a row ends in an exit, not in an error. */
static void a_triple_fault(void) {
    set_vmcs(m.vcpu, VMCS_CTRL_EXC_BITMAP, 0);
    set_vmcs(m.vcpu, VMCS_GUEST_IDTR_LIMIT, 0);
    start(x_ud2, x_ud2_end);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), VMX_REASON_TRIPLE_FAULT);
    set_vmcs(m.vcpu, VMCS_GUEST_IDTR_LIMIT, 0xffff);
    intercept_exceptions(m.vcpu);
}

/* A state that no guest can have is an exit with bit 31; controls that cannot be are an error, which has a status. */
static void entries_that_fail(void) {
    uint32_t status = 0;
    REFUSED(HV_ERROR, hv_vcpu_vmx_status(m.vcpu, &status)); /* none has failed yet */
    set_vmcs(m.vcpu, VMCS_GUEST_RFLAGS, 0); /* bit 1 is always 1 */
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    CHECK(hv_vcpu_run(m.vcpu));
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), 0x80000000U | VMX_REASON_VMENTRY_GUEST);
    set_vmcs(m.vcpu, VMCS_GUEST_RFLAGS, 2);
    const uint64_t pin = vmcs(m.vcpu, VMCS_CTRL_PIN_BASED);
    set_vmcs(m.vcpu, VMCS_CTRL_PIN_BASED, 0);
    REFUSED(HV_ERROR, hv_vcpu_run(m.vcpu));
    CHECK(hv_vcpu_vmx_status(m.vcpu, &status));
    SAME(status, 0x40); /* ZF: VMfailValid, and the field says why */
    SAME(vmcs(m.vcpu, VMCS_RO_INSTR_ERROR), 7);
    set_vmcs(m.vcpu, VMCS_CTRL_PIN_BASED, pin);
    LEAVES(i_hlt, VMX_REASON_HLT, 0);
}

int main(void) {
    m = make_machine();
    what_always_exits();
    what_a_control_makes_exit();
    ports();
    exceptions();
    a_software_interrupt();
    the_page_of_an_apic();
    a_triple_fault();
    entries_that_fail();
    end_machine(m);
    puts("ok");
    return 0;
}
