# HLT with interrupts off: for ever.
# options: --mode protected
# exit: 10
# said: the guest halted for ever: HLT with interrupts off (RFLAGS.IF = 0)
.code32
    cli
    hlt
