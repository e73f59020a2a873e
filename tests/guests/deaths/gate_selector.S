# Gates with a code selector that the GDT does not have.
# options: --mode long
# exit: 8
# said: (ud2) raised #UD
# said: the handler could not start: its code segment 0x28 is not in the GDT (limit 0x17)
# said: 2. delivering #UD raised #GP (general protection), error code 0x28
.code64
    lea handler(%rip), %rax
    lea idt(%rip), %rdi
    mov $32, %ecx
1:  mov %ax, (%rdi)
    movw $0x28, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    add $16, %rdi
    loop 1b
    lidt pointer(%rip)
    ud2
handler:
    iretq
pointer:
    .word 511
    .quad idt
idt:
    .fill 64, 8, 0
