/* A thousand lives of a VM with a vCPU and memory, each run to its HLT; and what is refused in between. */
#include "guest.h"

int main(void) {
    int support = 0;
    size_t size = sizeof support;
    EXPECT(sysctlbyname("kern.hv_support", &support, &size, NULL, 0) == 0 && support == 1);
    EXPECT(hv_vm_destroy() == HV_NO_DEVICE);
    for (int round = 0; round < 1000; ++round) {
        CHECK(hv_vm_create(HV_VM_DEFAULT));
        uint8_t *ram = map_ram();
        ram[CODE] = 0xf4; /* hlt */
        const hv_vcpuid_t vcpu = make_real_mode_vcpu();
        EXPECT(vcpu == 0);
        CHECK(hv_vcpu_run(vcpu));
        EXPECT(vmcs(vcpu, VMCS_RO_EXIT_REASON) == VMX_REASON_HLT);
        if (round == 0) {
            EXPECT(hv_vm_create(HV_VM_DEFAULT) == HV_BUSY);
            EXPECT(hv_vm_destroy() == HV_BUSY);
            EXPECT(hv_vm_map(ram, 0x1234, RAM_BYTES, HV_MEMORY_READ) == HV_BAD_ARGUMENT);
            EXPECT(hv_vm_map(ram, 0, RAM_BYTES, HV_MEMORY_READ) == HV_ERROR);
            EXPECT(hv_vcpu_read_register(vcpu, HV_X86_REGISTERS_MAX, NULL) == HV_BAD_ARGUMENT);
            EXPECT(hv_vcpu_run(7) == HV_BAD_ARGUMENT);
        }
        CHECK(hv_vcpu_destroy(vcpu));
        CHECK(hv_vm_unmap(0, RAM_BYTES));
        CHECK(hv_vm_destroy());
        munmap(ram, RAM_BYTES);
    }
    puts("ok");
    return 0;
}
