# A jump to itself.
# options: --mode protected --max-instructions 100000
# exit: 14
# said: it was at 0x1001 (jmp 0x00001001) in 32-bit protected mode, in a loop at 0x1001, with interrupts off
.code32
    cli
1:  jmp 1b
