/* The shadow VMCS: a guest that is a hypervisor itself reads and writes its own VMCS; what it may reach is no exit. */
#include "guest.h"

GUEST(vm_read, 64, "vmread rcx, rdx; hlt");
GUEST(vm_write, 64, "vmwrite rdx, rcx; hlt");

static struct machine m;

static void shadowing(int on) {
    set_control(m.vcpu, VMCS_CTRL_CPU_BASED2, HV_VMX_CAP_PROCBASED2, on ? CPU_BASED2_VMCS_SHADOW : 0);
}

static void go(const uint8_t *code, uint64_t field, uint64_t value, uint64_t reason) {
    memcpy(m.ram + CODE, code, 4);
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    set_reg(m.vcpu, HV_X86_RDX, field);
    set_reg(m.vcpu, HV_X86_RCX, value);
    RUN_TO(m.vcpu, reason);
    SAME(reg(m.vcpu, HV_X86_RIP), reason == VMX_REASON_HLT ? CODE + 3 : CODE);
}

static uint64_t shadow(uint32_t field) {
    uint64_t value = 0;
    CHECK(hv_vmx_vcpu_read_shadow_vmcs(m.vcpu, field, &value));
    return value;
}

static void guest_reads(uint32_t field, uint64_t value) {
    go(vm_read, field, 0xbad, VMX_REASON_HLT);
    SAME(reg(m.vcpu, HV_X86_RCX), value);
}

/* Access is given by field and by direction. */
static void access_of_each_kind(void) {
    static const uint32_t each[] = {VMCS_GUEST_ES,  VMCS_GUEST_IA32_EFER, VMCS_GUEST_RIP,     VMCS_RO_EXIT_REASON,
                                    VMCS_CTRL_EPTP, VMCS_HOST_RIP,        VMCS_CTRL_PIN_BASED};
    for (size_t n = 0; n < sizeof each / sizeof *each; ++n) {
        for (hv_shadow_flags_t access = HV_SHADOW_VMCS_NONE; access <= (HV_SHADOW_VMCS_READ | HV_SHADOW_VMCS_WRITE);
             ++access) {
            CHECK(hv_vmx_vcpu_set_shadow_access(m.vcpu, each[n], access));
            CHECK(hv_vmx_vcpu_write_shadow_vmcs(m.vcpu, each[n], 0x1111));
            if (access & HV_SHADOW_VMCS_WRITE) {
                go(vm_write, each[n], 0x2222 + access, VMX_REASON_HLT);
                SAME(shadow(each[n]), 0x2222 + access);
            } else {
                go(vm_write, each[n], 0x2222, VMX_REASON_VMWRITE);
                SAME(shadow(each[n]), 0x1111);
            }
            if (access & HV_SHADOW_VMCS_READ)
                guest_reads(each[n], shadow(each[n]));
            else
                go(vm_read, each[n], 0, VMX_REASON_VMREAD);
        }
        CHECK(hv_vmx_vcpu_set_shadow_access(m.vcpu, each[n], HV_SHADOW_VMCS_NONE));
    }
}

/* Another VMCS than the one that the vCPU runs by. */
static void it_is_another_one(void) {
    const uint64_t controls = vmcs(m.vcpu, VMCS_CTRL_PIN_BASED), rip = vmcs(m.vcpu, VMCS_GUEST_RIP);
    CHECK(hv_vmx_vcpu_write_shadow_vmcs(m.vcpu, VMCS_CTRL_PIN_BASED, 0x12345678));
    CHECK(hv_vmx_vcpu_write_shadow_vmcs(m.vcpu, VMCS_GUEST_RIP, 0x1234));
    SAME(vmcs(m.vcpu, VMCS_CTRL_PIN_BASED), controls);
    SAME(vmcs(m.vcpu, VMCS_GUEST_RIP), rip);
    SAME(shadow(VMCS_CTRL_PIN_BASED), 0x12345678);
    CHECK(hv_vmx_vcpu_write_shadow_vmcs(m.vcpu, VMCS_GUEST_ES, 0x12345)); /* cut to the field's width */
    SAME(shadow(VMCS_GUEST_ES), 0x2345);
}

/* Without the control all exit, whatever was granted. */
static void only_with_the_control(void) {
    CHECK(hv_vmx_vcpu_set_shadow_access(m.vcpu, VMCS_GUEST_ES, HV_SHADOW_VMCS_READ | HV_SHADOW_VMCS_WRITE));
    guest_reads(VMCS_GUEST_ES, 0x2345);
    shadowing(0);
    go(vm_read, VMCS_GUEST_ES, 0, VMX_REASON_VMREAD);
    go(vm_write, VMCS_GUEST_ES, 0, VMX_REASON_VMWRITE);
    shadowing(1);
    guest_reads(VMCS_GUEST_ES, 0x2345);
}

static void what_is_refused(void) {
    uint64_t value = 0;
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_vcpu_read_shadow_vmcs(m.vcpu, 0x7ffe, &value));
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_vcpu_write_shadow_vmcs(m.vcpu, 0x7ffe, 1));
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_vcpu_set_shadow_access(m.vcpu, 0x7ffe, HV_SHADOW_VMCS_READ));
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_vcpu_set_shadow_access(m.vcpu, VMCS_GUEST_ES, 4));
    go(vm_read, 0x7ffe, 0, VMX_REASON_VMREAD);
}

int main(void) {
    m = make_machine();
    EXPECT(capability(HV_VMX_CAP_PROCBASED2) >> 32 & CPU_BASED2_VMCS_SHADOW); /* offered */
    EXPECT(!(capability(HV_VMX_CAP_PROCBASED2) & CPU_BASED2_VMCS_SHADOW));   /* and optional */
    long_mode(m.vcpu, m.ram);
    shadowing(1);
    access_of_each_kind();
    it_is_another_one();
    only_with_the_control();
    what_is_refused();
    end_machine(m);
    puts("ok");
    return 0;
}
