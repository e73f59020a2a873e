/* What the programs of the C library's tests share. */
#include <Hypervisor/Hypervisor.h>
#include <pyhv/mach.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CHECK(call)                                                                          \
    do {                                                                                     \
        const hv_return_t code = (call);                                                     \
        if (code != HV_SUCCESS) {                                                            \
            fprintf(stderr, "%s:%d: %s: %#x\n", __FILE__, __LINE__, #call, (unsigned)code);  \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)
#define EXPECT(condition)                                                             \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

enum { RAM_BYTES = 0x10000, CODE = 0x1000 };

static inline uint8_t *map_ram(void) {
    void *ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(ram != MAP_FAILED);
    CHECK(hv_vm_map(ram, 0, RAM_BYTES, HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC));
    return (uint8_t *)ram;
}

static inline uint64_t vmcs(hv_vcpuid_t vcpu, uint32_t field) {
    uint64_t value = 0;
    CHECK(hv_vmx_vcpu_read_vmcs(vcpu, field, &value));
    return value;
}

static inline uint64_t reg(hv_vcpuid_t vcpu, hv_x86_reg_t which) {
    uint64_t value = 0;
    CHECK(hv_vcpu_read_register(vcpu, which, &value));
    return value;
}

/* The wanted bits, with those that the capability says must be 1 and without those that must be 0. */
static inline void set_control(hv_vcpuid_t vcpu, uint32_t field, hv_vmx_capability_t word, uint64_t wanted) {
    uint64_t allowed = 0;
    CHECK(hv_vmx_read_capability(word, &allowed));
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, field, (wanted | (allowed & 0xffffffffU)) & (allowed >> 32)));
}

/* A segment as real mode has it. */
static inline void real_segment(hv_vcpuid_t vcpu, uint32_t selector, uint32_t base, uint32_t limit, uint32_t rights, uint64_t ar) {
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, selector, 0));
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, base, 0));
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, limit, 0xffff));
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, rights, ar));
}

static inline hv_vcpuid_t make_real_mode_vcpu(void) {
    hv_vcpuid_t vcpu;
    CHECK(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT));
    set_control(vcpu, VMCS_CTRL_PIN_BASED, HV_VMX_CAP_PINBASED, 0);
    set_control(vcpu, VMCS_CTRL_CPU_BASED, HV_VMX_CAP_PROCBASED, CPU_BASED_HLT | CPU_BASED_CR8_LOAD | CPU_BASED_CR8_STORE);
    set_control(vcpu, VMCS_CTRL_CPU_BASED2, HV_VMX_CAP_PROCBASED2, 0);
    set_control(vcpu, VMCS_CTRL_VMENTRY_CONTROLS, HV_VMX_CAP_ENTRY, 0);
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, VMCS_CTRL_EXC_BITMAP, 0xffffffff));
    real_segment(vcpu, VMCS_GUEST_CS, VMCS_GUEST_CS_BASE, VMCS_GUEST_CS_LIMIT, VMCS_GUEST_CS_AR, 0x9b);
    real_segment(vcpu, VMCS_GUEST_DS, VMCS_GUEST_DS_BASE, VMCS_GUEST_DS_LIMIT, VMCS_GUEST_DS_AR, 0x93);
    real_segment(vcpu, VMCS_GUEST_ES, VMCS_GUEST_ES_BASE, VMCS_GUEST_ES_LIMIT, VMCS_GUEST_ES_AR, 0x93);
    real_segment(vcpu, VMCS_GUEST_FS, VMCS_GUEST_FS_BASE, VMCS_GUEST_FS_LIMIT, VMCS_GUEST_FS_AR, 0x93);
    real_segment(vcpu, VMCS_GUEST_GS, VMCS_GUEST_GS_BASE, VMCS_GUEST_GS_LIMIT, VMCS_GUEST_GS_AR, 0x93);
    real_segment(vcpu, VMCS_GUEST_SS, VMCS_GUEST_SS_BASE, VMCS_GUEST_SS_LIMIT, VMCS_GUEST_SS_AR, 0x93);
    real_segment(vcpu, VMCS_GUEST_LDTR, VMCS_GUEST_LDTR_BASE, VMCS_GUEST_LDTR_LIMIT, VMCS_GUEST_LDTR_AR, 0x10000);
    real_segment(vcpu, VMCS_GUEST_TR, VMCS_GUEST_TR_BASE, VMCS_GUEST_TR_LIMIT, VMCS_GUEST_TR_AR, 0x83);
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, VMCS_GUEST_CR0, 0x20));
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, VMCS_GUEST_CR4, 0x2000));
    CHECK(hv_vcpu_write_register(vcpu, HV_X86_RIP, CODE));
    CHECK(hv_vcpu_write_register(vcpu, HV_X86_RFLAGS, 2));
    return vcpu;
}
