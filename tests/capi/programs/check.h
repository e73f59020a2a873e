/* What the programs of the C library's tests share: checks that say where and what. */
#pragma once

#include <Hypervisor/Hypervisor.h>
#include <inttypes.h>
#include <pyhv/mach.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The call must return HV_SUCCESS. */
#define CHECK(call) REFUSED(HV_SUCCESS, call)
/* The call must return this code. */
#define REFUSED(code, call) check_code((code), (call), __FILE__, __LINE__, #call)
#define EXPECT(condition)                                                             \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);   \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)
/* Two numbers must be equal; both are told when they are not. */
#define SAME(seen, wanted) check_same((uint64_t)(seen), (uint64_t)(wanted), __FILE__, __LINE__, #seen)

static inline void check_code(hv_return_t wanted, hv_return_t code, const char *file, int line, const char *call) {
    if (code == wanted) return;
    fprintf(stderr, "%s:%d: %s: %#x, not %#x\n", file, line, call, (unsigned)code, (unsigned)wanted);
    exit(1);
}

static inline void check_same(uint64_t seen, uint64_t wanted, const char *file, int line, const char *what) {
    if (seen == wanted) return;
    fprintf(stderr, "%s:%d: %s is %#" PRIx64 ", not %#" PRIx64 "\n", file, line, what, seen, wanted);
    exit(1);
}

static inline uint64_t vmcs(hv_vcpuid_t vcpu, uint32_t field) {
    uint64_t value = 0;
    CHECK(hv_vmx_vcpu_read_vmcs(vcpu, field, &value));
    return value;
}

static inline void set_vmcs(hv_vcpuid_t vcpu, uint32_t field, uint64_t value) {
    CHECK(hv_vmx_vcpu_write_vmcs(vcpu, field, value));
}

static inline uint64_t reg(hv_vcpuid_t vcpu, hv_x86_reg_t which) {
    uint64_t value = 0;
    CHECK(hv_vcpu_read_register(vcpu, which, &value));
    return value;
}

static inline void set_reg(hv_vcpuid_t vcpu, hv_x86_reg_t which, uint64_t value) {
    CHECK(hv_vcpu_write_register(vcpu, which, value));
}

static inline uint64_t capability(hv_vmx_capability_t word) {
    uint64_t value = 0;
    CHECK(hv_vmx_read_capability(word, &value));
    return value;
}

/* The wanted bits, with those that the capability says must be 1 and without those that must be 0. */
static inline void set_control(hv_vcpuid_t vcpu, uint32_t field, hv_vmx_capability_t word, uint64_t wanted) {
    const uint64_t allowed = capability(word);
    set_vmcs(vcpu, field, (wanted | (allowed & 0xffffffffU)) & (allowed >> 32));
}

/* Processor-based controls beside those that every program here uses. */
static inline void set_exits(hv_vcpuid_t vcpu, uint64_t more) {
    set_control(vcpu, VMCS_CTRL_CPU_BASED, HV_VMX_CAP_PROCBASED,
                CPU_BASED_HLT | CPU_BASED_CR8_LOAD | CPU_BASED_CR8_STORE | CPU_BASED_SECONDARY_CTLS | more);
}

/* Runs to the next exit, which must have this reason. */
#define RUN_TO(vcpu, reason) (CHECK(hv_vcpu_run(vcpu)), SAME(vmcs(vcpu, VMCS_RO_EXIT_REASON), reason))

/* RIP behind the instruction that exited. */
static inline void skip(hv_vcpuid_t vcpu) {
    set_reg(vcpu, HV_X86_RIP, reg(vcpu, HV_X86_RIP) + vmcs(vcpu, VMCS_RO_VMEXIT_INSTR_LEN));
}
