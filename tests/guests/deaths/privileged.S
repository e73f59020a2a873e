# User code tries to switch interrupts off. The way there is a return to an outer level.
# options: --mode long
# exit: 8
# said: (cli) raised #GP (general protection)
# said: A privileged instruction at privilege level 3
.code64
    lgdt pointer(%rip)
    push $0x1b
    push $0x8000
    push $0x3002
    andl $~0x3000, (%rsp)
    push $0x13
    lea user(%rip), %rax
    push %rax
    mov %cr3, %rdi
    andq $~0xfff, %rdi
    mov $3, %edx
    call open
    iretq
open:                           # U in every entry of the first table of each level
    mov $512, %ecx
    mov %rdi, %rsi
1:  testb $1, (%rsi)
    jz 2f
    orb $4, (%rsi)
2:  add $8, %rsi
    loop 1b
    mov (%rdi), %rdi
    and $~0xfff, %rdi
    dec %edx
    jnz open
    ret
user:
    cli
    hlt
pointer:
    .word 31
    .quad gdt
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00affb000000ffff, 0x00cff3000000ffff
