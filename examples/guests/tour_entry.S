# The way in: a stack, then C. And the page-fault handler's frame.

        .intel_syntax noprefix
        .section .text
        .globl  _start
_start:
        lea     rsp, [rip + stack_top]
        xor     ebp, ebp
        call    tour
        out     0xf4, al                # what tour() returned
        cli
        hlt

        .globl  page_fault_entry
page_fault_entry:                       # on the stack: error code, RIP, CS, RFLAGS, RSP, SS
        push    rax
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        push    r8
        push    r9
        push    r10
        push    r11
        mov     rdi, [rsp + 72]
        mov     rsi, [rsp + 80]
        cld
        call    on_page_fault
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rax
        add     rsp, 8
        iretq

        .section .bss
        .align  16
        .skip   16384
stack_top:
