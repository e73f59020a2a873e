// The virtual machine of a DOS program: memory, one vCPU in real mode, and its exits. All calls to Hypervisor.framework
// are behind this header.
#pragma once

#include <Hypervisor/hv.h>
#include <Hypervisor/hv_vmx.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace dos {

// A call that the framework refused.
struct HvError : std::runtime_error {
    HvError(const char* call, hv_return_t code);
};

constexpr uint16_t carry_flag = 1, zero_flag = 1 << 6, trap_flag = 1 << 8, interrupt_flag = 1 << 9;

// What a real-mode program has for registers.
struct Registers {
    uint16_t ax, bx, cx, dx, si, di, bp, sp, ip, flags;
    uint16_t cs, ds, es, ss;

    uint8_t al() const { return static_cast<uint8_t>(ax); }
    uint8_t ah() const { return static_cast<uint8_t>(ax >> 8); }
    uint8_t bl() const { return static_cast<uint8_t>(bx); }
    uint8_t dl() const { return static_cast<uint8_t>(dx); }
    void al(uint8_t value) { ax = static_cast<uint16_t>((ax & 0xff00) | value); }
    void ah(uint8_t value) { ax = static_cast<uint16_t>((ax & 0xff) | value << 8); }
    void carry(bool on) { set(carry_flag, on); }
    void zero(bool on) { set(zero_flag, on); }

   private:
    void set(uint16_t flag, bool on) { flags = static_cast<uint16_t>(on ? flags | flag : flags & ~flag); }
};

// Why the guest stopped. RIP is still on the instruction; `length` leads behind it.
struct Exit {
    uint64_t reason, qualification, length, interruption, vectoring, address;
};

class Machine {
   public:
    static constexpr size_t memory_bytes = 0x110000;  // 1 MiB, and what FFFF:FFFF reaches beyond

    Machine();
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    // At most until a moment of mach_absolute_time.
    Exit run(uint64_t deadline);
    Registers registers() const;
    void set_registers(const Registers& wanted);  // the upper halves of the 32-bit registers stay
    uint32_t get32(hv_x86_reg_t which) const { return static_cast<uint32_t>(get(which)); }
    void set32(hv_x86_reg_t which, uint32_t value) { set(which, value); }

    // Memory by segment and offset. An offset wraps within its segment, as the processor's does.
    uint8_t* at(uint16_t segment, uint16_t offset) { return memory_ + segment * 16U + offset; }
    uint8_t byte(uint16_t segment, uint16_t offset) { return *at(segment, offset); }
    uint16_t word(uint16_t segment, uint16_t offset);
    void set_byte(uint16_t segment, uint16_t offset, uint8_t value) { *at(segment, offset) = value; }
    void set_word(uint16_t segment, uint16_t offset, uint16_t value);
    void set_dword(uint16_t segment, uint16_t offset, uint32_t value);
    void write(uint16_t segment, uint16_t offset, const void* data, size_t size);
    std::string read(uint16_t segment, uint16_t offset, size_t size);
    std::string read_until(uint16_t segment, uint16_t offset, char end, size_t limit = 0x10000);

   private:
    uint64_t get(hv_x86_reg_t which) const;
    void set(hv_x86_reg_t which, uint64_t value);
    uint64_t vmcs(uint32_t field) const;
    void set_vmcs(uint32_t field, uint64_t value);
    void set_control(uint32_t field, hv_vmx_capability_t word, uint64_t wanted);
    void set_segment(size_t which, uint16_t selector);
    void enter_real_mode();

    uint8_t* memory_;
    hv_vcpuid_t vcpu_ = 0;
};

}  // namespace dos
