# A DOS program: prints a greeting, its DOS version and its arguments, asks for a name, and ends with code 3.

        .intel_syntax noprefix
        .code16
        .globl _start
_start:
        mov     dx, offset greeting
        mov     ah, 9
        int     0x21
        mov     ah, 0x30                # the version, AL.AH
        int     0x21
        push    ax
        call    digit
        mov     dl, '.'
        call    put
        pop     ax
        mov     al, ah
        call    digit

        mov     dx, offset arguments
        mov     ah, 9
        int     0x21
        mov     bx, 1                   # the command tail, to standard output
        xor     ch, ch
        mov     cl, [0x80]
        mov     dx, 0x81
        mov     ah, 0x40
        int     0x21

        mov     dx, offset question
        mov     ah, 9
        int     0x21
        mov     dx, offset line
        mov     ah, 0x0a
        int     0x21
        mov     dx, offset reply
        mov     ah, 9
        int     0x21
        mov     bx, 1
        xor     ch, ch
        mov     cl, [line + 1]
        mov     dx, offset line + 2
        mov     ah, 0x40
        int     0x21
        mov     dx, offset end
        mov     ah, 9
        int     0x21
        mov     ax, 0x4c03
        int     0x21

digit:                                  # AL, one decimal digit
        add     al, '0'
        mov     dl, al
put:                                    # DL
        mov     ah, 2
        int     0x21
        ret

greeting:
        .ascii  "A .COM program runs on DOS $"
arguments:
        .ascii  "\r\nArguments:$"
question:
        .ascii  "\r\nWhat is your name? $"
reply:
        .ascii  "\r\nHello, $"
end:
        .ascii  "!\r\n$"
line:
        .byte   40, 0
        .skip   40
