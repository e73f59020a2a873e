# A boot loader whose GDT pointer names a table without a code segment: the far jump faults.
# options: --load 0x1000
# exit: 8
# said: triple fault in 16-bit protected mode: the instruction at 0x1011 (jmp far 0x0008:0x1016) raised #GP (general protection), error code 0x8
# said: The selector 0x8 is no code segment (GDT entry 0x00cf93000000ffff)
# said: 2. delivering #GP raised #GP (general protection), error code 0x6a: no handler exists: the IDT is still the vector table of real mode
# said: delivering #DF raised
.code16
    cli
    lgdtl pointer
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    xor %cx, %cx
    ljmp $8, $1f
1:  hlt
pointer:
    .word 15
    .long gdt
gdt:
    .quad 0, 0x00cf93000000ffff
