# Real mode: the vector table, a handler of one's own, divide errors, segments, A20, a far jump to protected mode and back.

        .intel_syntax noprefix
        .code16
        .globl  _start
_start:
        cli
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7000
        xor     si, si

        # INT 60h: our handler returns BX + 1 and the carry flag
        mov     word ptr [0x60 * 4], offset handler
        mov     word ptr [0x60 * 4 + 2], 0
        mov     bx, 41
        clc
        int     0x60
        jnc     failed1
        cmp     bx, 42
        jne     failed1

        # a division by zero comes with IP on the DIV; the handler moves it on
        mov     word ptr [0], offset divided
        mov     word ptr [2], 0
        xor     cx, cx
        mov     ax, 5
        div     cx
        cmp     dx, 0x1234
        jne     failed2

        # far calls and returns, with and without parameters, in 16 and 32 bits, by immediate and by memory
        mov     bx, sp
        push    cs
        call    returns_far
        .byte   0x9a                    # call 0:returns_far
        .word   returns_far, 0
        push    ax
        push    ax
        lcall   [far_pointer]
        data32 push cs
        data32 call returns_far32
        cmp     bx, sp
        jne     failed6
        cmp     si, 4
        jne     failed6

        # the same byte by two segments, and the wrap at 64 KiB
        mov     ax, 0x2000
        mov     es, ax
        mov     byte ptr es:[0x10], 0x5a
        mov     ax, 0x2001
        mov     es, ax
        cmp     byte ptr es:[0], 0x5a
        jne     failed3

        # to protected mode, where a segment has a base of 1 MiB, and back; that base stays ("unreal mode")
        lgdt    [gdt_pointer]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        .byte   0xea                    # jmp 8:in_protected
        .word   in_protected, 8
        .code32
in_protected:
        mov     ax, 16
        mov     es, ax
        mov     dword ptr es:[0x1000], 0x11223344
        .byte   0x66, 0xea              # jmp 24:back, 16-bit
        .word   back16, 24
        .code16
back16:
        mov     eax, cr0
        and     al, 0xfe
        mov     cr0, eax
        .byte   0xea
        .word   in_real, 0
in_real:
        cmp     dword ptr es:[0x1000], 0x11223344
        jne     failed4
        xor     ax, ax
        mov     es, ax
        cmp     dword ptr es:[0x1000], 0x11223344
        je      failed5

        mov     al, 0
        jmp     quit
failed6:
        mov     al, 6
        jmp     quit
failed1:
        mov     al, 1
        jmp     quit
failed2:
        mov     al, 2
        jmp     quit
failed3:
        mov     al, 3
        jmp     quit
failed4:
        mov     al, 4
        jmp     quit
failed5:
        mov     al, 5
quit:
        out     0xf4, al
        hlt

handler:
        inc     bx
        push    bp
        mov     bp, sp
        or      byte ptr [bp + 6], 1    # the caller's carry
        pop     bp
        iret

returns_far:
        inc     si
        retf
releases_4:
        inc     si
        retf    4
returns_far32:
        inc     si
        data32 retf

divided:
        push    bp
        mov     bp, sp
        add     word ptr [bp + 2], 2
        pop     bp
        mov     dx, 0x1234
        iret

far_pointer:
        .word   releases_4, 0
        .align  8
gdt:
        .quad   0
        .quad   0x00cf9b000000ffff      # 32-bit code
        .quad   0x00cf93100000ffff      # data from 1 MiB
        .quad   0x00009b000000ffff      # 16-bit code
gdt_pointer:
        .word   31
        .long   gdt
