# SSE instructions of a compiler, in a kernel that has not switched SSE on.
# options: --mode protected
# exit: 8
# said: (movdqa xmm0, [0x00002008]) raised #UD
# said: CR4.OSFXSR is 0, so SSE is off: the guest has to set it, or be built with -mgeneral-regs-only
.code32
    mov %cr4, %eax
    and $~0x200, %eax
    mov %eax, %cr4
    movdqa 0x2008, %xmm0
    hlt
