#include "machine.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstring>

namespace dos {
namespace {

void check(hv_return_t code, const char* call) {
    if (code != HV_SUCCESS) throw HvError(call, code);
}

std::string described(const char* call, hv_return_t code) {
    char text[80];
    std::snprintf(text, sizeof text, "%s: %#x", call, static_cast<unsigned>(code));
    return text;
}

struct SegmentFields {
    uint32_t selector, base, limit, rights;
};
enum : size_t { CS, DS, ES, SS, FS, GS, SEGMENTS };
constexpr SegmentFields segments[SEGMENTS] = {
    {VMCS_GUEST_CS, VMCS_GUEST_CS_BASE, VMCS_GUEST_CS_LIMIT, VMCS_GUEST_CS_AR},
    {VMCS_GUEST_DS, VMCS_GUEST_DS_BASE, VMCS_GUEST_DS_LIMIT, VMCS_GUEST_DS_AR},
    {VMCS_GUEST_ES, VMCS_GUEST_ES_BASE, VMCS_GUEST_ES_LIMIT, VMCS_GUEST_ES_AR},
    {VMCS_GUEST_SS, VMCS_GUEST_SS_BASE, VMCS_GUEST_SS_LIMIT, VMCS_GUEST_SS_AR},
    {VMCS_GUEST_FS, VMCS_GUEST_FS_BASE, VMCS_GUEST_FS_LIMIT, VMCS_GUEST_FS_AR},
    {VMCS_GUEST_GS, VMCS_GUEST_GS_BASE, VMCS_GUEST_GS_LIMIT, VMCS_GUEST_GS_AR},
};

struct Word {
    hv_x86_reg_t which;
    uint16_t Registers::* member;
};
constexpr Word words[] = {
    {HV_X86_RAX, &Registers::ax},       {HV_X86_RBX, &Registers::bx}, {HV_X86_RCX, &Registers::cx},
    {HV_X86_RDX, &Registers::dx},       {HV_X86_RSI, &Registers::si}, {HV_X86_RDI, &Registers::di},
    {HV_X86_RBP, &Registers::bp},       {HV_X86_RSP, &Registers::sp}, {HV_X86_RIP, &Registers::ip},
    {HV_X86_RFLAGS, &Registers::flags},
};
struct Selector {
    hv_x86_reg_t which;
    uint16_t Registers::* member;
    size_t segment;
};
constexpr Selector selectors[] = {{HV_X86_CS, &Registers::cs, CS},
                                  {HV_X86_DS, &Registers::ds, DS},
                                  {HV_X86_ES, &Registers::es, ES},
                                  {HV_X86_SS, &Registers::ss, SS}};

constexpr uint64_t always_one = 1 << 1, always_zero = 1 << 3 | 1 << 5 | 1 << 15;  // bits of RFLAGS
constexpr uint64_t code_rights = 0x9b, data_rights = 0x93, task_rights = 0x83, unusable = 0x10000;

}  // namespace

HvError::HvError(const char* call, hv_return_t code) : std::runtime_error(described(call, code)) {}

Machine::Machine() {
    void* memory = mmap(nullptr, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<uint8_t*>(memory);
    check(hv_vm_create(HV_VM_DEFAULT), "hv_vm_create");
    check(hv_vm_map(memory_, 0, memory_bytes, HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC), "hv_vm_map");
    check(hv_vcpu_create(&vcpu_, HV_VCPU_DEFAULT), "hv_vcpu_create");
    enter_real_mode();
}

Machine::~Machine() {
    hv_vcpu_destroy(vcpu_);
    hv_vm_destroy();
    munmap(memory_, memory_bytes);
}

// What is wanted, as far as the processor can; and what it insists on.
void Machine::set_control(uint32_t field, hv_vmx_capability_t word, uint64_t wanted) {
    uint64_t allowed = 0;
    check(hv_vmx_read_capability(word, &allowed), "hv_vmx_read_capability");
    const uint64_t low = allowed & 0xffffffff, high = allowed >> 32;
    set_vmcs(field, (wanted | low) & high);
}

// Every exception exits, and the interrupt table is too small for any vector: so INT n becomes a #GP exit whose
// vectoring information holds n, with RIP still on the INT.
void Machine::enter_real_mode() {
    set_control(VMCS_CTRL_PIN_BASED, HV_VMX_CAP_PINBASED, 0);
    set_control(VMCS_CTRL_CPU_BASED, HV_VMX_CAP_PROCBASED, CPU_BASED_HLT | CPU_BASED_CR8_LOAD | CPU_BASED_CR8_STORE);
    set_control(VMCS_CTRL_CPU_BASED2, HV_VMX_CAP_PROCBASED2, 0);
    set_control(VMCS_CTRL_VMENTRY_CONTROLS, HV_VMX_CAP_ENTRY, 0);
    set_vmcs(VMCS_CTRL_EXC_BITMAP, 0xffffffff);
    for (size_t which = 0; which < SEGMENTS; ++which) {
        set_segment(which, 0);
        set_vmcs(segments[which].limit, 0xffff);
        set_vmcs(segments[which].rights, which == CS ? code_rights : data_rights);
    }
    set_vmcs(VMCS_GUEST_LDTR, 0);
    set_vmcs(VMCS_GUEST_LDTR_BASE, 0);
    set_vmcs(VMCS_GUEST_LDTR_LIMIT, 0);
    set_vmcs(VMCS_GUEST_LDTR_AR, unusable);
    set_vmcs(VMCS_GUEST_TR, 0);
    set_vmcs(VMCS_GUEST_TR_BASE, 0);
    set_vmcs(VMCS_GUEST_TR_LIMIT, 0);
    set_vmcs(VMCS_GUEST_TR_AR, task_rights);
    set_vmcs(VMCS_GUEST_GDTR_BASE, 0);
    set_vmcs(VMCS_GUEST_GDTR_LIMIT, 0);
    set_vmcs(VMCS_GUEST_IDTR_BASE, 0);
    set_vmcs(VMCS_GUEST_IDTR_LIMIT, 0);
    set_vmcs(VMCS_GUEST_CR0, 0x20);
    set_vmcs(VMCS_GUEST_CR3, 0);
    set_vmcs(VMCS_GUEST_CR4, 0x2000);
    set(HV_X86_RFLAGS, 2);
}

Exit Machine::run(uint64_t deadline) {
    check(hv_vcpu_run_until(vcpu_, deadline), "hv_vcpu_run_until");
    return {vmcs(VMCS_RO_EXIT_REASON),     vmcs(VMCS_RO_EXIT_QUALIFIC),   vmcs(VMCS_RO_VMEXIT_INSTR_LEN),
            vmcs(VMCS_RO_VMEXIT_IRQ_INFO), vmcs(VMCS_RO_IDT_VECTOR_INFO), vmcs(VMCS_GUEST_PHYSICAL_ADDRESS)};
}

Registers Machine::registers() const {
    Registers seen{};
    for (const Word& word : words) seen.*word.member = static_cast<uint16_t>(get(word.which));
    for (const Selector& selector : selectors) seen.*selector.member = static_cast<uint16_t>(get(selector.which));
    return seen;
}

// An instruction is over when its RIP moves, and with it the moment for which STI and MOV SS hold interrupts off.
void Machine::set_registers(const Registers& wanted) {
    set_vmcs(VMCS_GUEST_INTERRUPTIBILITY, 0);
    for (const Word& word : words) {
        const uint64_t now = get(word.which);
        uint64_t next = (now & ~0xffffULL) | wanted.*word.member;
        if (word.which == HV_X86_RFLAGS) next = (next | always_one) & ~always_zero;
        if (next != now) set(word.which, next);
    }
    for (const Selector& selector : selectors)
        if (get(selector.which) != wanted.*selector.member) set_segment(selector.segment, wanted.*selector.member);
}

void Machine::set_segment(size_t which, uint16_t selector) {
    set_vmcs(segments[which].selector, selector);
    set_vmcs(segments[which].base, selector * 16U);
}

uint16_t Machine::word(uint16_t segment, uint16_t offset) {
    return static_cast<uint16_t>(byte(segment, offset) | byte(segment, static_cast<uint16_t>(offset + 1)) << 8);
}

void Machine::set_word(uint16_t segment, uint16_t offset, uint16_t value) {
    const uint8_t bytes[] = {static_cast<uint8_t>(value), static_cast<uint8_t>(value >> 8)};
    write(segment, offset, bytes, sizeof bytes);
}

void Machine::set_dword(uint16_t segment, uint16_t offset, uint32_t value) {
    set_word(segment, offset, static_cast<uint16_t>(value));
    set_word(segment, static_cast<uint16_t>(offset + 2), static_cast<uint16_t>(value >> 16));
}

void Machine::write(uint16_t segment, uint16_t offset, const void* data, size_t size) {
    const auto* bytes = static_cast<const uint8_t*>(data);
    for (size_t n = 0; n < size; ++n) set_byte(segment, static_cast<uint16_t>(offset + n), bytes[n]);
}

std::string Machine::read(uint16_t segment, uint16_t offset, size_t size) {
    std::string bytes(size, '\0');
    for (size_t n = 0; n < size; ++n) bytes[n] = static_cast<char>(byte(segment, static_cast<uint16_t>(offset + n)));
    return bytes;
}

std::string Machine::read_until(uint16_t segment, uint16_t offset, char end, size_t limit) {
    std::string text;
    while (text.size() < limit) {
        const char next = static_cast<char>(byte(segment, static_cast<uint16_t>(offset + text.size())));
        if (next == end) break;
        text.push_back(next);
    }
    return text;
}

uint64_t Machine::get(hv_x86_reg_t which) const {
    uint64_t value = 0;
    check(hv_vcpu_read_register(vcpu_, which, &value), "hv_vcpu_read_register");
    return value;
}

void Machine::set(hv_x86_reg_t which, uint64_t value) {
    check(hv_vcpu_write_register(vcpu_, which, value), "hv_vcpu_write_register");
}

uint64_t Machine::vmcs(uint32_t field) const {
    uint64_t value = 0;
    check(hv_vmx_vcpu_read_vmcs(vcpu_, field, &value), "hv_vmx_vcpu_read_vmcs");
    return value;
}

void Machine::set_vmcs(uint32_t field, uint64_t value) {
    check(hv_vmx_vcpu_write_vmcs(vcpu_, field, value), "hv_vmx_vcpu_write_vmcs");
}

}  // namespace dos
