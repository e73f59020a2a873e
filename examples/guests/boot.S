# A boot sector: prints on COM1, adds up the numbers to 100, and ends the run with 21 by the exit port (exit code 43).

        .intel_syntax noprefix
        .code16
        .globl _start
_start:
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        cld
        mov     si, offset greeting
        call    print

        xor     ax, ax                  # 1 + 2 + … + 100
        mov     cx, 100
1:      add     ax, cx
        loop    1b
        call    print_number
        mov     si, offset newline
        call    print

        mov     al, 21
        out     0xf4, al
        cli
        hlt

print:                                  # the string at SI
        lodsb
        test    al, al
        jz      1f
        call    put
        jmp     print
1:      ret

print_number:                           # AX, decimal
        xor     dx, dx
        mov     bx, 10
        div     bx
        push    dx
        test    ax, ax
        jz      1f
        call    print_number
1:      pop     ax
        add     al, '0'
put:                                    # AL to COM1
        push    ax
        mov     dx, 0x3fd
1:      in      al, dx
        test    al, 0x20
        jz      1b
        pop     ax
        mov     dx, 0x3f8
        out     dx, al
        ret

greeting:
        .asciz  "A boot sector runs in real mode. 1 + 2 + ... + 100 = "
newline:
        .asciz  "\r\n"

        .org    510
        .word   0xaa55
