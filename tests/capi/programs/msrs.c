/* MSRs: what exits, what is native, what is managed, and whose values they are. */
#include <pthread.h>

#include "guest.h"

GUEST(read_it, 16, "rdmsr; hlt");
GUEST(write_it, 16, "wrmsr; hlt");

static struct machine m;

static uint64_t msr(uint32_t number) {
    uint64_t value = 0;
    CHECK(hv_vcpu_read_msr(m.vcpu, number, &value));
    return value;
}

static void guest_does(const uint8_t *code, uint32_t number, uint64_t value, uint64_t reason) {
    memcpy(m.ram + CODE, code, 3);
    set_reg(m.vcpu, HV_X86_RIP, CODE);
    set_reg(m.vcpu, HV_X86_RCX, number);
    set_reg(m.vcpu, HV_X86_RAX, value & 0xffffffff);
    set_reg(m.vcpu, HV_X86_RDX, value >> 32);
    RUN_TO(m.vcpu, reason);
    SAME(reg(m.vcpu, HV_X86_RIP), reason == VMX_REASON_HLT ? CODE + 2 : CODE);
}

static void guest_writes(uint32_t number, uint64_t value, uint64_t reason) {
    guest_does(write_it, number, value, reason);
}

static void guest_reads(uint32_t number, uint64_t value, uint64_t reason) {
    guest_does(read_it, number, 0xbad00000bad, reason);
    if (reason != VMX_REASON_HLT) return;
    SAME(reg(m.vcpu, HV_X86_RAX), value & 0xffffffff);
    SAME(reg(m.vcpu, HV_X86_RDX), value >> 32);
}

/* Those that a client keeps between its guest's processes, with values that each takes. */
static const struct {
    uint32_t number;
    uint64_t one, two;
} native[] = {
    {HV_MSR_IA32_STAR, 0x0018000800001234, 0x0028001000005678},
    {HV_MSR_IA32_LSTAR, 0xffffffff81000000, 0x7fff00001000},
    {HV_MSR_IA32_CSTAR, 0xffffffff82000000, 0x1000},
    {HV_MSR_IA32_FMASK, 0x47700, 0x200},
    {HV_MSR_IA32_KERNEL_GS_BASE, 0xffff888000000000, 0x7f0000000000},
    {HV_MSR_IA32_FS_BASE, 0x7f1234567000, 0x1000},
    {HV_MSR_IA32_GS_BASE, 0xffff888012345000, 0x2000},
    {HV_MSR_IA32_TSC_AUX, 0x12, 0x34},
    {HV_MSR_IA32_SYSENTER_CS, 0x10, 0x20},
    {HV_MSR_IA32_SYSENTER_ESP, 0xffffffff83000000, 0x3000},
    {HV_MSR_IA32_SYSENTER_EIP, 0xffffffff84000000, 0x4000},
};
enum { NATIVE = sizeof native / sizeof *native };

static void nothing_is_native_before_it_is_asked_for(void) {
    for (int n = 0; n < NATIVE; ++n) {
        guest_reads(native[n].number, 0, VMX_REASON_RDMSR);
        guest_writes(native[n].number, native[n].one, VMX_REASON_WRMSR);
        SAME(vmcs(m.vcpu, VMCS_RO_VMEXIT_INSTR_LEN), 2);
    }
}

/* The guest reads what the client wrote and the reverse, without an exit; later it exits, and the value stays. */
static void native_values(void) {
    for (int n = 0; n < NATIVE; ++n) {
        const uint32_t number = native[n].number;
        CHECK(hv_vcpu_enable_native_msr(m.vcpu, number, true));
        CHECK(hv_vcpu_write_msr(m.vcpu, number, native[n].one));
        guest_reads(number, native[n].one, VMX_REASON_HLT);
        guest_writes(number, native[n].two, VMX_REASON_HLT);
        SAME(msr(number), native[n].two);
    }
    for (int n = 0; n < NATIVE; ++n) { /* each is its own */
        SAME(msr(native[n].number), native[n].two);
        CHECK(hv_vcpu_enable_native_msr(m.vcpu, native[n].number, false));
        guest_writes(native[n].number, native[n].one, VMX_REASON_WRMSR);
        SAME(msr(native[n].number), native[n].two);
    }
}

/* Some are VMCS fields too. */
static void the_same_by_the_vmcs(void) {
    static const struct {
        uint32_t number, field;
        uint64_t value;
    } doors[] = {
        {HV_MSR_IA32_FS_BASE, VMCS_GUEST_FS_BASE, 0x12345000},
        {HV_MSR_IA32_GS_BASE, VMCS_GUEST_GS_BASE, 0x12346000},
        {HV_MSR_IA32_SYSENTER_CS, VMCS_GUEST_IA32_SYSENTER_CS, 0x18},
        {HV_MSR_IA32_SYSENTER_ESP, VMCS_GUEST_SYSENTER_ESP, 0x5000},
        {HV_MSR_IA32_SYSENTER_EIP, VMCS_GUEST_SYSENTER_EIP, 0x6000},
        {HV_MSR_IA32_EFER, VMCS_GUEST_IA32_EFER, 0x801},
        {HV_MSR_IA32_DEBUGCTL, VMCS_GUEST_IA32_DEBUGCTL, 0},
    };
    for (size_t n = 0; n < sizeof doors / sizeof *doors; ++n) {
        CHECK(hv_vcpu_write_msr(m.vcpu, doors[n].number, doors[n].value));
        SAME(vmcs(m.vcpu, doors[n].field), doors[n].value);
        set_vmcs(m.vcpu, doors[n].field, 0);
        SAME(msr(doors[n].number), 0);
    }
}

static void what_cannot_be_native(void) {
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_enable_native_msr(m.vcpu, HV_MSR_IA32_EFER, true)); /* it always exits */
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_enable_native_msr(m.vcpu, HV_MSR_IA32_FLUSH_CMD, true));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_enable_native_msr(m.vcpu, 0x12345678, true));
    uint64_t value = 0;
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_read_msr(m.vcpu, 0x12345678, &value));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_write_msr(m.vcpu, 0x12345678, 1));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_write_msr(m.vcpu, HV_MSR_IA32_LSTAR, 0x8000000000000000)); /* no address */
    guest_writes(HV_MSR_IA32_EFER, 0x500, VMX_REASON_WRMSR);
    guest_reads(0x12345678, 0, VMX_REASON_RDMSR); /* one that nobody has is the client's to refuse */
}

/* Bound first, then the guest gets reads, writes or both. */
static void managed(void) {
    static const uint32_t each[] = {HV_MSR_IA32_LSTAR, HV_MSR_IA32_KERNEL_GS_BASE, HV_MSR_IA32_TSC_AUX};
    for (size_t n = 0; n < sizeof each / sizeof *each; ++n) {
        const uint32_t number = each[n];
        REFUSED(HV_BAD_ARGUMENT, hv_vcpu_set_msr_access(m.vcpu, number, HV_MSR_READ)); /* not bound */
        CHECK(hv_vcpu_enable_managed_msr(m.vcpu, number, true));
        CHECK(hv_vcpu_write_msr(m.vcpu, number, 0x42));
        for (hv_msr_flags_t access = HV_MSR_NONE; access <= (HV_MSR_READ | HV_MSR_WRITE); ++access) {
            CHECK(hv_vcpu_set_msr_access(m.vcpu, number, access));
            guest_writes(number, 0x42 + access, access & HV_MSR_WRITE ? VMX_REASON_HLT : VMX_REASON_WRMSR);
            SAME(msr(number), access & HV_MSR_WRITE ? 0x42 + access : 0x42);
            guest_reads(number, msr(number), access & HV_MSR_READ ? VMX_REASON_HLT : VMX_REASON_RDMSR);
            CHECK(hv_vcpu_write_msr(m.vcpu, number, 0x42));
        }
        REFUSED(HV_BAD_ARGUMENT, hv_vcpu_set_msr_access(m.vcpu, number, 4));
        CHECK(hv_vcpu_enable_managed_msr(m.vcpu, number, false)); /* takes the access too */
        guest_reads(number, 0, VMX_REASON_RDMSR);
        REFUSED(HV_BAD_ARGUMENT, hv_vcpu_set_msr_access(m.vcpu, number, HV_MSR_READ));
    }
}

/* There are no counters and no last branches, and everybody who asks is told so. */
static void what_this_processor_has_not(void) {
    for (hv_vmx_msr_info_t field = 0; field <= HV_VMX_NEED_MSR_IA32_SPEC_CTRL; ++field) {
        uint64_t value = 1;
        CHECK(hv_vmx_get_msr_info(field, &value));
        SAME(value, 0);
    }
    uint64_t value = 0;
    REFUSED(HV_BAD_ARGUMENT, hv_vmx_get_msr_info(HV_VMX_NEED_MSR_IA32_SPEC_CTRL + 1, &value));
    REFUSED(HV_UNSUPPORTED, hv_vcpu_enable_managed_msr(m.vcpu, HV_MSR_IA32_PMC0, true));
    REFUSED(HV_UNSUPPORTED, hv_vcpu_enable_managed_msr(m.vcpu, HV_MSR_LASTBRANCH_0_FROM_IP, true));
    REFUSED(HV_BAD_ARGUMENT, hv_vcpu_enable_managed_msr(m.vcpu, 0x12345678, true));
}

/* A value belongs to one vCPU. */
static void *another_vcpu(void *unused) {
    (void)unused;
    hv_vcpuid_t vcpu;
    uint64_t value = 1;
    CHECK(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT));
    CHECK(hv_vcpu_read_msr(vcpu, HV_MSR_IA32_STAR, &value));
    SAME(value, 0);
    CHECK(hv_vcpu_write_msr(vcpu, HV_MSR_IA32_STAR, 0x99));
    CHECK(hv_vcpu_destroy(vcpu));
    return NULL;
}

static void each_vcpu_has_its_own(void) {
    pthread_t thread;
    CHECK(hv_vcpu_write_msr(m.vcpu, HV_MSR_IA32_STAR, 0x77));
    pthread_create(&thread, NULL, another_vcpu, NULL);
    pthread_join(thread, NULL);
    SAME(msr(HV_MSR_IA32_STAR), 0x77);
}

int main(void) {
    m = make_machine();
    nothing_is_native_before_it_is_asked_for();
    native_values();
    the_same_by_the_vmcs();
    what_cannot_be_native();
    managed();
    what_this_processor_has_not();
    each_vcpu_has_its_own();
    end_machine(m);
    puts("ok");
    return 0;
}
