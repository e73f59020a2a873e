# A Multiboot kernel: checks what the loader gives it, prints command line and memory, and ends with 0 (exit code 1).

        .intel_syntax noprefix
        .set    MAGIC, 0x1badb002
        .set    FLAGS, 3                # page-aligned modules, memory information

        .section .text
        .code32
        .align  4
        .long   MAGIC, FLAGS, -(MAGIC + FLAGS)

        .globl  _start
_start:
        mov     esp, offset stack_top
        cmp     eax, 0x2badb002
        jne     not_loaded
        mov     esi, offset greeting
        call    print
        mov     esi, [ebx + 16]         # the command line
        call    print
        mov     esi, offset memory
        call    print

        mov     edi, [ebx + 48]         # the memory map: address and length
        mov     ecx, [ebx + 44]
        add     ecx, edi
1:      cmp     edi, ecx
        jae     2f
        mov     esi, offset line
        call    print
        mov     eax, [edi + 8]
        call    print_hex
        mov     al, ':'
        call    put
        mov     eax, [edi + 4]
        call    print_hex
        mov     al, '+'
        call    put
        mov     eax, [edi + 16]
        call    print_hex
        mov     eax, [edi + 12]
        call    print_hex
        mov     esi, offset usable
        cmp     dword ptr [edi + 20], 1
        je      3f
        mov     esi, offset reserved
3:      call    print
        mov     eax, [edi]
        lea     edi, [edi + eax + 4]
        jmp     1b
2:      xor     eax, eax
        jmp     exit
not_loaded:
        mov     esi, offset complaint
        call    print
        mov     eax, 1
exit:
        out     0xf4, al
        cli
        hlt

print:                                  # the string at ESI
        lodsb
        test    al, al
        jz      1f
        call    put
        jmp     print
1:      ret

print_hex:                              # EAX, eight digits
        push    ecx
        mov     ecx, 8
1:      rol     eax, 4
        push    eax
        and     al, 15
        cmp     al, 10
        sbb     al, 0x69
        das
        call    put
        pop     eax
        loop    1b
        pop     ecx
        ret

put:                                    # AL to COM1
        push    edx
        mov     edx, 0x3f8
        out     dx, al
        pop     edx
        ret

        .section .rodata
greeting:
        .asciz  "A Multiboot kernel runs in protected mode.\ncommand line: "
memory:
        .asciz  "\nmemory map:\n"
line:
        .asciz  "  "
usable:
        .asciz  " usable\n"
reserved:
        .asciz  " reserved\n"
complaint:
        .asciz  "this kernel wants a Multiboot loader\n"

        .section .bss
        .align  16
        .skip   4096
stack_top:
