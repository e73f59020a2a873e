# An IDT with one entry too few types: entry 6 holds a pointer, not a gate.
# options: --mode protected
# exit: 8
# said: (ud2) raised #UD
# said: no handler exists: IDT entry 6 is not present
# said: delivering #UD raised #GP (general protection), error code 0x32
.code32
    lidt pointer
    ud2
pointer:
    .word 2047
    .long idt
idt:
    .fill 6, 8, 0
    .long handler, 0
    .fill 249, 8, 0
handler:
    iret
