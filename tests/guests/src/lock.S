# Two processors, the same words: under a spin lock, and by every locked way to add. RDI: rounds.

        .intel_syntax noprefix
        .code64
        .set    LOCK_WORD, 0x8000
        .set    GUARDED, 0x8008         # plain INC under the lock
        .set    ADDED, 0x8010           # LOCK INC
        .set    EXCHANGED, 0x8018       # LOCK XADD
        .set    COMPARED, 0x8020        # LOCK CMPXCHG
        .set    WIDE, 0x8030            # LOCK CMPXCHG16B
        .set    BITS, 0x8040            # LOCK BTS and BTR of bit 5: a second lock
        .set    GUARDED2, 0x8048
        .set    EDGE, 0x8fff            # a word over a page edge, LOCK ADD
        .globl  _start
_start:
1:      mov     eax, 1                  # take the lock
        xchg    [LOCK_WORD], eax
        test    eax, eax
        jz      2f
        pause
        jmp     1b
2:      inc     qword ptr [GUARDED]
        mov     dword ptr [LOCK_WORD], 0

        lock inc qword ptr [ADDED]

        mov     eax, 1
        lock xadd [EXCHANGED], rax

        mov     rax, [COMPARED]
3:      lea     rcx, [rax + 1]
        lock cmpxchg [COMPARED], rcx
        jne     3b

        mov     rax, [WIDE]
        mov     rdx, [WIDE + 8]
4:      lea     rbx, [rax + 1]
        mov     rcx, rdx
        dec     rcx
        lock cmpxchg16b [WIDE]
        jne     4b

5:      lock bts dword ptr [BITS], 5
        jc      5b
        inc     qword ptr [GUARDED2]
        lock btr dword ptr [BITS], 5

        lock add dword ptr [EDGE], 1

        dec     rdi
        jnz     1b
        hlt
