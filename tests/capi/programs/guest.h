/* Guests for the programs: their code, their memory, their modes. */
#pragma once

#include "check.h"

/* Code for a guest in Intel's syntax, assembled along with the program: bytes from NAME to NAME_end. */
#define GUEST(name, bits, text)                                                                                  \
    HV_BEGIN_DECLS extern const uint8_t name[], name##_end[];                                                    \
    HV_END_DECLS                                                                                                 \
    __asm__(".pushsection .rodata\n.intel_syntax noprefix\n.code" #bits "\n" #name ":\n" text "\n" #name "_end:\n" \
            ".code64\n.att_syntax prefix\n.popsection\n")
#define PLACE(ram, at, name) memcpy((ram) + (at), name, (size_t)(name##_end - name))

enum { PAGE = 0x1000, RAM_BYTES = 0x10000, CODE = 0x1000, STACK = 0x8000, HLT = 0xf4 };
enum { RWX = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC };

/* Zeroed host memory, whole pages. */
static inline uint8_t *host_memory(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory != MAP_FAILED);
    return (uint8_t *)memory;
}

/* RAM for the guest, from address 0 on. */
static inline uint8_t *map_ram(void) {
    uint8_t *ram = host_memory(RAM_BYTES);
    CHECK(hv_vm_map(ram, 0, RAM_BYTES, RWX));
    return ram;
}

/* `jmp $`: a guest that goes on until somebody ends its run. */
static inline void place_endless_loop(uint8_t *ram) { ram[CODE] = 0xeb, ram[CODE + 1] = 0xfe; }

static inline void store32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }
static inline void store64(uint8_t *at, uint64_t value) { memcpy(at, &value, sizeof value); }

/* An entry of the real-mode interrupt table: segment 0. */
static inline void set_vector(uint8_t *ram, unsigned vector, uint16_t handler) { store32(ram + 4 * vector, handler); }

/* A segment as real mode has it. */
static inline void real_segment(hv_vcpuid_t vcpu, uint32_t selector, uint32_t base, uint32_t limit, uint32_t rights,
                                uint64_t ar) {
    set_vmcs(vcpu, selector, 0);
    set_vmcs(vcpu, base, 0);
    set_vmcs(vcpu, limit, 0xffff);
    set_vmcs(vcpu, rights, ar);
}

/* Every exception exits, where the engine can make it so. */
static inline void intercept_exceptions(hv_vcpuid_t vcpu) {
    uint64_t must = 0, may = 0;
    CHECK(hv_vmx_vcpu_get_cap_write_vmcs(vcpu, VMCS_CTRL_EXC_BITMAP, &must, &may));
    set_vmcs(vcpu, VMCS_CTRL_EXC_BITMAP, 0xffffffff & may);
}

/* Ready to run in real mode at CODE. HLT and every exception that can exit. */
static inline void real_mode(hv_vcpuid_t vcpu) {
    set_control(vcpu, VMCS_CTRL_PIN_BASED, HV_VMX_CAP_PINBASED, 0);
    set_exits(vcpu, 0);
    set_control(vcpu, VMCS_CTRL_CPU_BASED2, HV_VMX_CAP_PROCBASED2, 0);
    set_control(vcpu, VMCS_CTRL_VMENTRY_CONTROLS, HV_VMX_CAP_ENTRY, 0);
    intercept_exceptions(vcpu);
    real_segment(vcpu, VMCS_GUEST_CS, VMCS_GUEST_CS_BASE, VMCS_GUEST_CS_LIMIT, VMCS_GUEST_CS_AR, 0x9b);
    real_segment(vcpu, VMCS_GUEST_DS, VMCS_GUEST_DS_BASE, VMCS_GUEST_DS_LIMIT, VMCS_GUEST_DS_AR, 0x93);
    real_segment(vcpu, VMCS_GUEST_ES, VMCS_GUEST_ES_BASE, VMCS_GUEST_ES_LIMIT, VMCS_GUEST_ES_AR, 0x93);
    real_segment(vcpu, VMCS_GUEST_FS, VMCS_GUEST_FS_BASE, VMCS_GUEST_FS_LIMIT, VMCS_GUEST_FS_AR, 0x93);
    real_segment(vcpu, VMCS_GUEST_GS, VMCS_GUEST_GS_BASE, VMCS_GUEST_GS_LIMIT, VMCS_GUEST_GS_AR, 0x93);
    real_segment(vcpu, VMCS_GUEST_SS, VMCS_GUEST_SS_BASE, VMCS_GUEST_SS_LIMIT, VMCS_GUEST_SS_AR, 0x93);
    real_segment(vcpu, VMCS_GUEST_LDTR, VMCS_GUEST_LDTR_BASE, VMCS_GUEST_LDTR_LIMIT, VMCS_GUEST_LDTR_AR, 0x10000);
    real_segment(vcpu, VMCS_GUEST_TR, VMCS_GUEST_TR_BASE, VMCS_GUEST_TR_LIMIT, VMCS_GUEST_TR_AR, 0x83);
    set_vmcs(vcpu, VMCS_GUEST_CR0, 0x20);
    set_vmcs(vcpu, VMCS_GUEST_CR4, 0x2000);
    set_reg(vcpu, HV_X86_RIP, CODE);
    set_reg(vcpu, HV_X86_RSP, STACK);
    set_reg(vcpu, HV_X86_RFLAGS, 2);
}

static inline hv_vcpuid_t make_real_mode_vcpu(void) {
    hv_vcpuid_t vcpu;
    CHECK(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT));
    real_mode(vcpu);
    return vcpu;
}

/* From real mode to 64-bit mode at CODE: page tables at TABLES map the first 2 MiB onto themselves. */
enum { TABLES = 0xc000, PRESENT_WRITABLE_USER = 7, BIG_PAGE = 0x80 };

static inline void long_mode(hv_vcpuid_t vcpu, uint8_t *ram) {
    store64(ram + TABLES, (TABLES + PAGE) | PRESENT_WRITABLE_USER);
    store64(ram + TABLES + PAGE, (TABLES + 2 * PAGE) | PRESENT_WRITABLE_USER);
    store64(ram + TABLES + 2 * PAGE, BIG_PAGE | PRESENT_WRITABLE_USER);
    set_control(vcpu, VMCS_CTRL_VMENTRY_CONTROLS, HV_VMX_CAP_ENTRY, VMENTRY_GUEST_IA32E | VMENTRY_LOAD_EFER);
    set_vmcs(vcpu, VMCS_GUEST_IA32_EFER, 0x500);
    set_vmcs(vcpu, VMCS_GUEST_CR3, TABLES);
    set_vmcs(vcpu, VMCS_GUEST_CR4, 0x2020);
    set_vmcs(vcpu, VMCS_GUEST_CR0, 0x80000021);
    set_vmcs(vcpu, VMCS_GUEST_CS_AR, 0xa09b);
    set_vmcs(vcpu, VMCS_GUEST_TR_AR, 0x8b);
}

/* The VM of the process with RAM and one vCPU in real mode; and all of it gone again. */
struct machine {
    uint8_t *ram;
    hv_vcpuid_t vcpu;
};

static inline struct machine make_machine(void) {
    struct machine made;
    CHECK(hv_vm_create(HV_VM_DEFAULT));
    made.ram = map_ram();
    made.vcpu = make_real_mode_vcpu();
    return made;
}

static inline void end_machine(struct machine made) {
    CHECK(hv_vcpu_destroy(made.vcpu));
    CHECK(hv_vm_destroy());
    munmap(made.ram, RAM_BYTES);
}
