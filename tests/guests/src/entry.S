# The way in, and the way from 48 vectors to on_event(struct frame *).

        .intel_syntax noprefix
        .section .text
        .globl  _start
_start:
        lea     rsp, [rip + stack_top]
        xor     ebp, ebp
        call    main
        xor     eax, eax
        out     0xf4, al

        .altmacro
        .macro  stub vector
stub_\vector:
        .if     (\vector == 8) || (\vector >= 10 && \vector <= 14) || (\vector == 17)
        .else
        push    0
        .endif
        push    \vector
        jmp     common
        .endm

        .set    v, 0
        .rept   48
        stub    %v
        .set    v, v + 1
        .endr

common:
        push    rax
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        push    r8
        push    r9
        push    r10
        push    r11
        mov     rdi, rsp
        cld
        call    on_event
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rax
        add     rsp, 16
        iretq

        .section .rodata
        .globl  stubs
        .align  8
        .macro  address vector
        .quad   stub_\vector
        .endm
stubs:
        .set    v, 0
        .rept   48
        address %v
        .set    v, v + 1
        .endr

        .section .bss
        .align  16
        .skip   32768
stack_top:
