/* The state of a vCPU from outside: registers, x87 and SSE; what the guest changes, and what it finds. */
#include "guest.h"

GUEST(add_one, 64,
      "inc rax; inc rbx; inc rcx; inc rdx; inc rsi; inc rdi; inc rbp; inc r8; inc r9; inc r10; inc r11; inc r12;"
      "inc r13; inc r14; inc r15; hlt");
GUEST(move_debug, 64, "mov rax, dr0; mov dr1, rbx; mov rcx, dr6; mov rdx, dr7; hlt");
GUEST(floating, 64, "fld1; faddp; paddq xmm3, xmm4; hlt");

static struct machine m;

static void general_registers(void) {
    static const hv_x86_reg_t each[] = {HV_X86_RAX, HV_X86_RBX, HV_X86_RCX, HV_X86_RDX, HV_X86_RSI,
                                        HV_X86_RDI, HV_X86_RBP, HV_X86_R8,  HV_X86_R9,  HV_X86_R10,
                                        HV_X86_R11, HV_X86_R12, HV_X86_R13, HV_X86_R14, HV_X86_R15};
    enum { COUNT = sizeof each / sizeof *each };
    for (uint64_t n = 0; n < COUNT; ++n) set_reg(m.vcpu, each[n], 0xfedcba9876540000 + 17 * n);
    PLACE(m.ram, CODE, add_one);
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    RUN_TO(m.vcpu, VMX_REASON_HLT);
    for (uint64_t n = 0; n < COUNT; ++n) SAME(reg(m.vcpu, each[n]), 0xfedcba9876540001 + 17 * n);
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_write_register(m.vcpu, HV_X86_REGISTERS_MAX, 0));
    set_reg(m.vcpu, HV_X86_CR2, 0x123456789abc);
    SAME(reg(m.vcpu, HV_X86_CR2), 0x123456789abc);
}

/* Bits that are fixed read as the processor has them. */
static void debug_registers(void) {
    for (int n = 0; n < 4; ++n) set_reg(m.vcpu, (hv_x86_reg_t)(HV_X86_DR0 + n), 0x1000U + (unsigned)n);
    for (int n = 0; n < 4; ++n) SAME(reg(m.vcpu, (hv_x86_reg_t)(HV_X86_DR0 + n)), 0x1000U + (unsigned)n);
    SAME(reg(m.vcpu, HV_X86_DR6), 0xffff0ff0);
    SAME(reg(m.vcpu, HV_X86_DR7), 0x400);
    PLACE(m.ram, CODE, move_debug);
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    set_reg(m.vcpu, HV_X86_RBX, 0x7777);
    RUN_TO(m.vcpu, VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_RAX), 0x1000);
    SAME(reg(m.vcpu, HV_X86_DR1), 0x7777);
    SAME(reg(m.vcpu, HV_X86_RCX), 0xffff0ff0);
    SAME(reg(m.vcpu, HV_X86_RDX), 0x400);
}

/* The image is XSAVE's: of 512 bytes the legacy area, of more what the processor has, and zeros. */
enum { ST0 = 32, XMM3 = 160 + 3 * 16, XMM4 = 160 + 4 * 16, XSTATE_BV = 512 };

static void floating_point(void) {
    static const size_t sizes[] = {512, 2496, 4096};
    static const uint8_t two_and_a_half[10] = {0, 0, 0, 0, 0, 0, 0, 0xa0, 0x00, 0x40};
    static const uint8_t three_and_a_half[10] = {0, 0, 0, 0, 0, 0, 0, 0xe0, 0x00, 0x40};
    set_reg(m.vcpu, HV_X86_CR4, reg(m.vcpu, HV_X86_CR4) | 0x600); /* OSFXSR, OSXMMEXCPT */
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; ++n) {
        uint8_t image[4096], after[4096];
        CHECK(hv_vcpu_read_fpstate(m.vcpu, image, sizes[n]));
        memcpy(image + ST0, two_and_a_half, sizeof two_and_a_half);
        memset(image, 0, 6);
        image[0] = 0x7f, image[1] = 0x03; /* control word: nothing is an exception */
        image[3] = 0x38;                  /* top of stack: 7 */
        image[4] = 0x80;                  /* which one is in use */
        store64(image + XMM3, 40);
        store64(image + XMM4, 2);
        if (sizes[n] > XSTATE_BV) image[XSTATE_BV] |= 3; /* x87 and SSE are not as at the beginning */
        CHECK(hv_vcpu_write_fpstate(m.vcpu, image, sizes[n]));
        PLACE(m.ram, CODE, floating);
        set_reg(m.vcpu, HV_X86_RIP, CODE);
        RUN_TO(m.vcpu, VMX_REASON_HLT);
        CHECK(hv_vcpu_read_fpstate(m.vcpu, after, sizes[n]));
        EXPECT(memcmp(after + ST0, three_and_a_half, sizeof three_and_a_half) == 0);
        EXPECT(after[XMM3] == 42 && after[XMM4] == 2);
    }
    uint8_t image[512];
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_read_fpstate(m.vcpu, image, 511));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_write_fpstate(m.vcpu, image, 0));
    CHECK(hv_vcpu_read_fpstate(m.vcpu, image, sizeof image));
    image[27] = 0xff; /* a bit of MXCSR that no processor has */
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_write_fpstate(m.vcpu, image, sizeof image));
}

/* XCR0 takes what there is: x87 always. */
static void extended_state(void) {
    SAME(reg(m.vcpu, HV_X86_XCR0) & 1, 1);
    set_reg(m.vcpu, HV_X86_XCR0, 3);
    SAME(reg(m.vcpu, HV_X86_XCR0), 3);
}

static void calls_without_an_effect(void) {
    REFUSED(HV_UNSUPPORTED, hv_vcpu_flush(m.vcpu)); /* as since macOS 11 */
    CHECK(hv_vcpu_invalidate_tlb(m.vcpu));
}

int main(void) {
    m = make_machine();
    long_mode(m.vcpu, m.ram);
    general_registers();
    debug_registers();
    floating_point();
    extended_state();
    calls_without_an_effect();
    end_machine(m);
    puts("ok");
    return 0;
}
