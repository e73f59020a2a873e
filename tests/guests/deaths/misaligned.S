# MOVDQA of an address that is not a multiple of 16.
# options: --mode protected
# exit: 8
# said: (movdqa xmm0, [ebx+0x08]) raised #GP (general protection)
# said: Its memory operand has to be at a multiple of 16, and it is at 0x2008
.code32
    mov %cr4, %eax
    or $0x200, %eax
    mov %eax, %cr4
    mov $0x2000, %ebx
    movdqa 8(%ebx), %xmm0
    hlt
