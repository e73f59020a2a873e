/* A real-mode guest: what it writes to a port, what it reads from one, an exception, an injected interrupt. */
#include <string.h>

#include "guest.h"

static const uint8_t program[] = {
    0xba, 0xf8, 0x03,       /* mov dx, 0x3f8 */
    0xb0, 'H',  0xee,       /* mov al, 'H'; out dx, al */
    0xec,                   /* in al, dx */
    0x04, 0x01, 0xee,       /* add al, 1; out dx, al */
    0x0f, 0x0b,             /* ud2 */
    0xf4,                   /* hlt: where the handler returns to */
};
static const uint8_t handler[] = {0xb0, '!', 0xee, 0xf4}; /* mov al, '!'; out dx, al; hlt */

static void run_to_port(hv_vcpuid_t vcpu, int is_in) {
    CHECK(hv_vcpu_run(vcpu));
    EXPECT(vmcs(vcpu, VMCS_RO_EXIT_REASON) == VMX_REASON_IO);
    const uint64_t how = vmcs(vcpu, VMCS_RO_EXIT_QUALIFIC);
    EXPECT((how & 7) == 0 && (how >> 3 & 1) == (uint64_t)is_in && how >> 16 == 0x3f8);
}

int main(void) {
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    uint8_t *ram = map_ram();
    memcpy(ram + CODE, program, sizeof program);
    memcpy(ram + 0x2000, handler, sizeof handler);
    ram[0x21 * 4] = 0x00, ram[0x21 * 4 + 1] = 0x20; /* vector 0x21: 0000:2000 */
    const hv_vcpuid_t vcpu = make_real_mode_vcpu();
    CHECK(hv_vcpu_write_register(vcpu, HV_X86_RSP, 0x8000));

    run_to_port(vcpu, 0);
    EXPECT((reg(vcpu, HV_X86_RAX) & 0xff) == 'H');
    skip(vcpu);
    run_to_port(vcpu, 1);
    CHECK(hv_vcpu_write_register(vcpu, HV_X86_RAX, 'h'));
    skip(vcpu);
    run_to_port(vcpu, 0);
    EXPECT((reg(vcpu, HV_X86_RAX) & 0xff) == 'i');
    skip(vcpu);

    CHECK(hv_vcpu_run(vcpu));
    EXPECT((vmcs(vcpu, VMCS_RO_EXIT_REASON) & 0xffff) == VMX_REASON_EXC_NMI);
    EXPECT((vmcs(vcpu, VMCS_RO_VMEXIT_IRQ_INFO) & 0xff) == 6);
    CHECK(hv_vcpu_write_register(vcpu, HV_X86_RIP, reg(vcpu, HV_X86_RIP) + 2));

    CHECK(hv_vcpu_write_register(vcpu, HV_X86_RFLAGS, 0x202));
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, VMCS_CTRL_VMENTRY_IRQ_INFO, 0x21 | IRQ_INFO_VALID));
    run_to_port(vcpu, 0);
    EXPECT((reg(vcpu, HV_X86_RAX) & 0xff) == '!');
    skip(vcpu);
    CHECK(hv_vcpu_run(vcpu));
    EXPECT(vmcs(vcpu, VMCS_RO_EXIT_REASON) == VMX_REASON_HLT);
    CHECK(hv_vcpu_destroy(vcpu));
    CHECK(hv_vm_destroy());
    puts("ok");
    return 0;
}
