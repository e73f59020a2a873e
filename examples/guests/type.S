# A DOS program like TYPE: prints the file that its argument names. Ends with 0, or with 1 when it cannot be opened.

        .intel_syntax noprefix
        .code16
        .globl _start
_start:
        xor     bh, bh
        mov     bl, [0x80]              # the command tail becomes a string that ends with 0
        mov     byte ptr [bx + 0x81], 0
        mov     dx, 0x82                # behind the space
        mov     ax, 0x3d00
        int     0x21
        jc      failed
        mov     bx, ax
copy:
        mov     dx, offset buffer
        mov     cx, 512
        mov     ah, 0x3f
        int     0x21
        jc      failed
        test    ax, ax
        jz      done
        push    bx
        mov     cx, ax
        mov     bx, 1
        mov     ah, 0x40
        int     0x21
        pop     bx
        jmp     copy
done:
        mov     ah, 0x3e
        int     0x21
        mov     ax, 0x4c00
        int     0x21
failed:
        mov     dx, offset message
        mov     ah, 9
        int     0x21
        mov     ax, 0x4c01
        int     0x21

message:
        .ascii  "cannot open the file\r\n$"
buffer:
