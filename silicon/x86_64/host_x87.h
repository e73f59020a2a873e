// The host's own x87 unit, which runs the guest's x87 instructions: results, flags and payloads are exact by construction.
//
// Two ways. Whole: the unit is loaded with the guest's state, runs the guest's instruction with the guest's masks, and is
// read back; that is right for every instruction in every state. Quick, in ops/host_x87_quick.h: with everything masked and
// the operands alone, for the usual instructions in usual states; `Cpu` lends the host's control word for that.
#pragma once

#include "silicon/types.h"

namespace silicon::x86 {

// Bits of the status word, and the exceptions as the control word masks them. Intel SDM vol. 1, "x87 FPU Status Register".
namespace x87 {
inline constexpr u16 ie = 1 << 0, de = 1 << 1, ze = 1 << 2, oe = 1 << 3, ue = 1 << 4, pe = 1 << 5, exceptions = 0x3f;
inline constexpr u16 stack_fault = 1 << 6, summary = 1 << 7, c0 = 1 << 8, c1 = 1 << 9, c2 = 1 << 10, c3 = 1 << 14, busy = 1 << 15;
inline constexpr u16 top = 7 << 11, condition = c0 | c1 | c2 | c3;
inline constexpr unsigned top_shift = 11;
inline constexpr u16 initial_control = 0x37f;
constexpr u16 control_of(u16 value) { return u16((value & 0x1f3f) | 0x40); }  // what the control word can hold
// ES and B follow the flags and the masks.
constexpr u16 with_summary(u16 status, u16 control) {
    const bool pending = status & ~control & exceptions;
    return u16((status & ~(summary | busy)) | (pending ? summary | busy : 0));
}
static_assert(with_summary(ie, initial_control) == ie && with_summary(ie, 0x37e) == (ie | summary | busy));
}  // namespace x87

// Intel SDM vol. 1, "Protected Mode x87 FPU State Image in Memory, 32-Bit Format", and the registers, ST(0) first.
struct X87Image {
    u16 control = x87::initial_control, unused0 = 0xffff, status = 0, unused1 = 0xffff, tags = 0xffff, unused2 = 0xffff;
    u32 ip = 0;
    u16 cs = 0, opcode = 0;
    u32 dp = 0;
    u16 ds = 0, unused3 = 0xffff;
    u8 st[8][10] = {};
};
static_assert(sizeof(X87Image) == 108);

// Runs one instruction: `opcode` is the low 3 bits of its first byte and the ModRM byte, as FOP has it. Its memory operand,
// if any, is at `memory`. Gives the arithmetic flags behind it.
u64 run_on_host_x87(X87Image& image, u16 opcode, void* memory, u64 flags);

#if defined(__x86_64__)
inline u16 host_x87_control() {
    u16 control;
    asm volatile("fnstcw %0" : "=m"(control));
    return control;
}
inline void set_host_x87_control(u16 control) { asm volatile("fldcw %0" : : "m"(control)); }
inline u16 host_x87_status() {
    u16 status;
    asm volatile("fnstsw %0" : "=a"(status));
    return status;
}
inline void clear_host_x87() { asm volatile("fnclex"); }
#else
inline u16 host_x87_control() { return x87::initial_control; }
inline void set_host_x87_control(u16) {}
inline u16 host_x87_status() { return 0; }
inline void clear_host_x87() {}
#endif

}  // namespace silicon::x86
