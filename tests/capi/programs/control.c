/* Control registers: what is masked is the client's, the rest is the guest's; modes that the guest enters by itself;
 * and
 * debug registers and the task priority, which have exits of the same kind. */
#include "guest.h"

GUEST(set_cr0, 16, "mov cr0, eax; mov ebx, cr0; hlt");
GUEST(set_cr4, 16, "mov cr4, ecx; mov ebx, cr4; hlt");
GUEST(set_cr3, 16, "mov cr3, esi; mov edi, cr3; hlt");
GUEST(clear_ts, 16, "clts; hlt");
GUEST(load_word, 16, "lmsw ax; smsw bx; hlt");
GUEST(priority, 64, "mov cr8, r9; mov r10, cr8; hlt");
GUEST(debug_registers, 16, "mov dr2, ebp; mov eax, dr7; hlt");

enum {
    WRITE = 0,
    READ = 1 << 4,
    CLTS = 2 << 4,
    LMSW = 3 << 4,
    GPR = 1 << 8,
    TS = 8,
    NE = 0x20,
    CD = 0x40000000,
    WP = 0x10000
};
enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, R9 = 9, R10 };
static struct machine m;

static uint64_t start(const uint8_t *code, const uint8_t *end) {
    memcpy(m.ram + CODE, code, (size_t)(end - code));
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    CHECK(hv_vcpu_run(m.vcpu));
    return vmcs(m.vcpu, VMCS_RO_EXIT_REASON);
}
#define START(name) start(name, name##_end)

static void leaves(uint64_t seen, uint64_t qualification) {
    SAME(seen, VMX_REASON_MOV_CR);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC), qualification);
}

/* Reads of masked bits come from the shadow. A write that leaves them as the shadow shows them is no exit. */
static void masked_bits_of_cr0(void) {
    set_vmcs(m.vcpu, VMCS_CTRL_CR0_MASK, CD | NE | TS);
    set_vmcs(m.vcpu, VMCS_CTRL_CR0_SHADOW, CD);
    set_reg(m.vcpu, HV_X86_RAX, CD | WP | 0x10); /* WP is the guest's own */
    SAME(START(set_cr0), VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_CR0), NE | WP | 0x10); /* the real one: NE stays, CD was never set */
    SAME(reg(m.vcpu, HV_X86_RBX), CD | WP | 0x10); /* and what the guest sees */
    set_reg(m.vcpu, HV_X86_RAX, WP | 0x10);
    leaves(START(set_cr0), WRITE | EAX * GPR);
    SAME(reg(m.vcpu, HV_X86_CR0), NE | WP | 0x10);
    set_reg(m.vcpu, HV_X86_CR0, NE | 0x10);
    set_vmcs(m.vcpu, VMCS_CTRL_CR0_SHADOW, TS);
    leaves(START(clear_ts), CLTS);
    set_reg(m.vcpu, HV_X86_RAX, 2); /* MP, without TS */
    leaves(START(load_word), LMSW | 2 << 16);
    set_vmcs(m.vcpu, VMCS_CTRL_CR0_SHADOW, 0);
    SAME(START(clear_ts), VMX_REASON_HLT); /* it is clear already, as the shadow shows */
    SAME(START(load_word), VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_RBX) & 0xffff, 0x12);
    set_vmcs(m.vcpu, VMCS_CTRL_CR0_MASK, 0);
}

static void masked_bits_of_cr4(void) {
    enum { VMXE = 0x2000, PAE = 0x20, PGE = 0x80 };
    set_vmcs(m.vcpu, VMCS_CTRL_CR4_MASK, VMXE);
    set_vmcs(m.vcpu, VMCS_CTRL_CR4_SHADOW, 0);
    set_reg(m.vcpu, HV_X86_RCX, PAE | PGE);
    SAME(START(set_cr4), VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_RBX), PAE | PGE); /* the guest knows nothing of VMX */
    SAME(reg(m.vcpu, HV_X86_CR4), VMXE | PAE | PGE);
    set_reg(m.vcpu, HV_X86_RCX, VMXE);
    leaves(START(set_cr4), WRITE | 4 | ECX * GPR);
    set_reg(m.vcpu, HV_X86_CR4, VMXE);
    set_vmcs(m.vcpu, VMCS_CTRL_CR4_MASK, 0);
}

static void accesses_of_cr3(void) {
    set_reg(m.vcpu, HV_X86_RSI, 0x5000);
    SAME(START(set_cr3), VMX_REASON_HLT); /* no exit by itself */
    SAME(reg(m.vcpu, HV_X86_RDI), 0x5000);
    set_exits(m.vcpu, CPU_BASED_CR3_LOAD | CPU_BASED_CR3_STORE);
    leaves(START(set_cr3), WRITE | 3 | ESI * GPR);
    set_vmcs(m.vcpu, VMCS_CTRL_CR3_VALUE0, 0x5000); /* a value that may be loaded all the same */
    set_vmcs(m.vcpu, VMCS_CTRL_CR3_COUNT, 1);
    leaves(START(set_cr3), READ | 3 | EDI * GPR);
    set_vmcs(m.vcpu, VMCS_CTRL_CR3_COUNT, 0);
    set_exits(m.vcpu, 0);
}

static void debug_register_accesses(void) {
    set_reg(m.vcpu, HV_X86_RBP, 0x1234);
    SAME(START(debug_registers), VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_DR2), 0x1234);
    SAME(reg(m.vcpu, HV_X86_RAX), 0x400);
    set_exits(m.vcpu, CPU_BASED_MOV_DR);
    SAME(START(debug_registers), VMX_REASON_MOV_DR);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC), 2 | EBP * GPR);
    skip(m.vcpu);
    RUN_TO(m.vcpu, VMX_REASON_MOV_DR);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC), 7 | READ | EAX * GPR);
    set_exits(m.vcpu, 0);
}

/* CR8 exits with its controls; with a TPR shadow the guest has HV_X86_TPR, and going below the threshold is an exit. */
static void the_task_priority(void) {
    long_mode(m.vcpu, m.ram);
    set_reg(m.vcpu, HV_X86_R9, 5);
    leaves(START(priority), WRITE | 8 | R9 * GPR);
    skip(m.vcpu);
    CHECK(hv_vcpu_run(m.vcpu));
    leaves(vmcs(m.vcpu, VMCS_RO_EXIT_REASON), READ | 8 | R10 * GPR);
    set_control(m.vcpu, VMCS_CTRL_CPU_BASED, HV_VMX_CAP_PROCBASED,
                CPU_BASED_HLT | CPU_BASED_TPR_SHADOW | CPU_BASED_SECONDARY_CTLS);
    set_vmcs(m.vcpu, VMCS_CTRL_TPR_THRESHOLD, 3);
    set_reg(m.vcpu, HV_X86_TPR, 0x70);
    SAME(START(priority), VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_TPR), 0x50);
    SAME(reg(m.vcpu, HV_X86_R10), 5);
    set_reg(m.vcpu, HV_X86_R9, 2);
    SAME(START(priority), VMX_REASON_TPR_THRESHOLD);
    SAME(reg(m.vcpu, HV_X86_RIP), CODE + 4); /* a trap: the write is done */
    SAME(reg(m.vcpu, HV_X86_TPR), 0x20);
    set_vmcs(m.vcpu, VMCS_CTRL_TPR_THRESHOLD, 0);
}

/* Nothing masked, a guest goes from real mode to 64-bit mode by itself; EFER alone exits, for that is the client's. */
GUEST(climb, 16,
      "lgdt [0x3100]; mov eax, cr0; or al, 1; mov cr0, eax; .byte 0xea; .word climb_32 - climb + 0x1000; .word 8\n"
      ".code32\nclimb_32: mov eax, 0x20; or eax, 0x2000; mov cr4, eax; mov eax, 0xc000; mov cr3, eax;"
      "mov ecx, 0xc0000080; mov eax, 0x100; xor edx, edx; wrmsr; mov eax, cr0; or eax, 0x80000000; mov cr0, eax;"
      ".byte 0xea; .long climb_64 - climb + 0x1000; .word 16\n"
      ".code64\nclimb_64: mov rax, 0x123456789abcdef0; mov rbx, cr0; hlt");

static void modes_by_the_guest_itself(void) {
    static const uint64_t descriptors[] = {0, 0x00cf9b000000ffff, 0x00209b0000000000}; /* 32 bits, 64 bits */
    const struct machine fresh = m = make_machine();
    long_mode(m.vcpu, m.ram); /* for its tables */
    real_mode(m.vcpu);
    set_vmcs(m.vcpu, VMCS_GUEST_TR_AR, 0x8b); /* with a task state of 16 bits nobody gets into IA-32e mode */
    set_vmcs(m.vcpu, VMCS_GUEST_IA32_EFER, 0);
    set_vmcs(m.vcpu, VMCS_GUEST_CR3, 0);
    EXPECT(capability(HV_VMX_CAP_EXIT) >> 32 & VMEXIT_SAVE_EFER);
    set_control(m.vcpu, VMCS_CTRL_VMEXIT_CONTROLS, HV_VMX_CAP_EXIT, VMEXIT_SAVE_EFER);
    memcpy(m.ram + 0x3000, descriptors, sizeof descriptors);
    m.ram[0x3100] = sizeof descriptors - 1;
    store32(m.ram + 0x3102, 0x3000);
    SAME(START(climb), VMX_REASON_WRMSR);
    SAME(reg(m.vcpu, HV_X86_RCX), HV_MSR_IA32_EFER);
    SAME(reg(m.vcpu, HV_X86_CR0) & 1, 1); /* protected mode, without an exit */
    set_vmcs(m.vcpu, VMCS_GUEST_IA32_EFER, reg(m.vcpu, HV_X86_RAX));
    skip(m.vcpu);
    RUN_TO(m.vcpu, VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_RAX), 0x123456789abcdef0);
    SAME(vmcs(m.vcpu, VMCS_GUEST_IA32_EFER), 0x500);                                          /* LMA came */
    EXPECT(vmcs(m.vcpu, VMCS_CTRL_VMENTRY_CONTROLS) & VMENTRY_GUEST_IA32E); /* and the next entry knows */
    SAME(reg(m.vcpu, HV_X86_CS), 16);
    set_reg(m.vcpu, HV_X86_RIP, CODE + (uint64_t)(climb_end - climb) - 1);
    RUN_TO(m.vcpu, VMX_REASON_HLT);
    end_machine(fresh);
}

/* PAE paging: the four entries at CR3 are in their fields as soon as CR3 is, and are what translates. */
GUEST(look, 32, "mov al, [0x200100]; mov bl, [0x40000100]; hlt");

static void page_directory_pointers(void) {
    const struct machine fresh = m = make_machine();
    enum { POINTERS = 0x4000, DIRECTORY = 0x5000, OTHER = 0x6000 };
    store64(m.ram + POINTERS, DIRECTORY | 1);
    store64(m.ram + POINTERS + 8, OTHER | 1);
    store64(m.ram + DIRECTORY, BIG_PAGE | 3);     /* onto itself */
    store64(m.ram + DIRECTORY + 8, BIG_PAGE | 3); /* 2 MiB further: the same again */
    store64(m.ram + OTHER, BIG_PAGE | 3);
    m.ram[0x100] = 0x77;
    set_vmcs(m.vcpu, VMCS_GUEST_CS_AR, 0xc09b);
    set_vmcs(m.vcpu, VMCS_GUEST_CS_LIMIT, 0xffffffff);
    set_vmcs(m.vcpu, VMCS_GUEST_DS_AR, 0xc093);
    set_vmcs(m.vcpu, VMCS_GUEST_DS_LIMIT, 0xffffffff);
    set_vmcs(m.vcpu, VMCS_GUEST_TR_AR, 0x8b);
    set_vmcs(m.vcpu, VMCS_GUEST_CR4, 0x2020);
    set_vmcs(m.vcpu, VMCS_GUEST_CR0, 0x80000021);
    set_vmcs(m.vcpu, VMCS_GUEST_CR3, POINTERS);
    SAME(vmcs(m.vcpu, VMCS_GUEST_PDPTE0), DIRECTORY | 1);
    SAME(vmcs(m.vcpu, VMCS_GUEST_PDPTE1), OTHER | 1);
    SAME(vmcs(m.vcpu, VMCS_GUEST_PDPTE2), 0);
    SAME(START(look), VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_RAX) & 0xff, 0x77);
    SAME(reg(m.vcpu, HV_X86_RBX) & 0xff, 0x77);
    store64(m.ram + POINTERS + 8, 0); /* memory may change: they are registers */
    SAME(START(look), VMX_REASON_HLT);
    set_vmcs(m.vcpu, VMCS_GUEST_PDPTE1, 0); /* which the client can write */
    SAME(START(look), VMX_REASON_EXC_NMI);
    SAME(vmcs(m.vcpu, VMCS_RO_VMEXIT_IRQ_INFO) & 0xff, 14);
    SAME(vmcs(m.vcpu, VMCS_RO_EXIT_QUALIFIC), 0x40000100); /* the address; */
    SAME(reg(m.vcpu, HV_X86_CR2), 0);                      /* CR2 is as it was */
    end_machine(fresh);
}

int main(void) {
    m = make_machine();
    masked_bits_of_cr0();
    masked_bits_of_cr4();
    accesses_of_cr3();
    debug_register_accesses();
    the_task_priority();
    end_machine(m);
    modes_by_the_guest_itself();
    page_directory_pointers();
    puts("ok");
    return 0;
}
