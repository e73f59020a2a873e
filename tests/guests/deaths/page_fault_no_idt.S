# A 64-bit kernel without an IDT reads where nothing is mapped.
# options: --mode long
# exit: 8
# said: the instruction at 0x100a (mov rax, [rbx]) raised #PF (page fault) at 0x4000000000: a read of a page that is not mapped, and no handler exists: there is no IDT (base and limit are 0)
# said: 1. 0x100a (mov rax, [rbx]) raised #PF
# said: 2. delivering #PF raised #GP (general protection), error code 0x72: no handler exists: there is no IDT
# said: 3. delivering #DF raised #GP (general protection), error code 0x42
# said: 4. a fault after the double fault that no handler can take shuts the processor down: a triple fault
# said: mov rbx, 0x4000000000
.code64
    movabs $0x4000000000, %rbx
    mov (%rbx), %rax
    hlt
