# The processor's side of system.c: entry as a Multiboot kernel, handlers, and where the second processor starts.
# Linked for 1 MiB, 32-bit protected mode, no paging.

        .set LOCAL_EOI, 0xfee000b0
        .set LOCAL_ICR, 0xfee00300
        .set LOCAL_ICR_HIGH, 0xfee00310
        .set TRAMPOLINE, 0x8000
        .set HEADER, 0x1badb002

        .text
        .align 4
        .long HEADER, 0, -HEADER

        .code32
        .globl _start
_start: lgdt gdt_pointer
        ljmp $8, $1f
1:      mov $16, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        mov $stack_end, %esp
        call main
        cli
        hlt

        .globl on_timer, on_answer, on_message, on_question
.macro  count name, counter
\name:  lock incl \counter
        movl $0, LOCAL_EOI
        iret
.endm
        count on_timer, timer_ticks
        count on_answer, answers
        count on_message, messages
on_question:                            # of the second processor: answered with a message to the first
        movl $0, LOCAL_EOI
        movl $0, LOCAL_ICR_HIGH
        movl $0x4051, LOCAL_ICR
        iret

        .globl trampoline, trampoline_end
        .code16
trampoline:
        cli
        xor %ax, %ax
        mov %ax, %ds
        lgdtl TRAMPOLINE + (trampoline_pointer - trampoline)
        mov %cr0, %eax
        or $1, %al
        mov %eax, %cr0
        ljmpl $8, $second
trampoline_pointer:
        .word 23
        .long gdt
trampoline_end:

        .code32
second: mov $16, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        mov $second_stack_end, %esp
        lidt idt_pointer
        call second_main

        .data
        .align 8
gdt:    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word 23
        .long gdt

        .bss
        .align 16
        .skip 8192
stack_end:
        .skip 8192
second_stack_end:
