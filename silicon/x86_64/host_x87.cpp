// Every x87 instruction there is, as a subroutine: `run_on_host_x87` calls the guest's one.
#include "silicon/x86_64/host_x87.h"

#if defined(__x86_64__)

// The instruction, RET and a byte of filling: first the register forms by opcode and ModRM, then the forms with an operand
// at [rdi] by opcode and ModRM.reg. silicon_x87_run(image, subroutine, operand, flags) → flags.
asm(R"(
    .pushsection .text
    .balign 16
silicon_x87_registers:
    .set n, 0
    .rept 512
    .byte 0xd8 + (n >> 6), 0xc0 + (n & 63), 0xc3, 0xcc
    .set n, n + 1
    .endr
silicon_x87_memory:
    .set n, 0
    .rept 64
    .byte 0xd8 + (n >> 3), (n & 7) << 3 | 7, 0xc3, 0xcc
    .set n, n + 1
    .endr

    .balign 16
    .type silicon_x87_run, @function
silicon_x87_run:
    .cfi_startproc
    push %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_offset %rbx, -16
    mov %rdi, %rbx
    mov %rdx, %rdi
    frstor (%rbx)
    push %rcx
    popfq
    call *%rsi
    pushfq
    pop %rax
    fnsave (%rbx)
    pop %rbx
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc
    .size silicon_x87_run, . - silicon_x87_run
    .popsection
)");

extern "C" {
extern const silicon::u8 silicon_x87_registers[], silicon_x87_memory[] __attribute__((visibility("hidden")));
silicon::u64 silicon_x87_run(silicon::x86::X87Image* image, const void* subroutine, void* operand, silicon::u64 flags)
    __attribute__((visibility("hidden")));
}

namespace silicon::x86 {

u64 run_on_host_x87(X87Image& image, u16 opcode, void* memory, u64 flags) {
    constexpr unsigned bytes_each = 4;
    const unsigned first = opcode >> 8, modrm = opcode & 0xff;
    const u8* subroutine = memory ? silicon_x87_memory + bytes_each * (first << 3 | (modrm >> 3 & 7))
                                  : silicon_x87_registers + bytes_each * (first << 6 | (modrm & 63));
    return silicon_x87_run(&image, subroutine, memory, flags);
}

}  // namespace silicon::x86

#else

namespace silicon::x86 {

u64 run_on_host_x87(X87Image&, u16, void*, u64 flags) { return flags; }

}  // namespace silicon::x86

#endif
