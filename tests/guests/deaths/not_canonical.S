# A pointer with rubbish in its upper bits.
# options: --mode long
# exit: 8
# said: (mov al, [rbx+0x10]) raised #GP (general protection)
# said: The address 0xdead00000010 is not canonical: bits 63 to 47 differ
.code64
    movabs $0xdead00000000, %rbx
    mov 0x10(%rbx), %al
    hlt
