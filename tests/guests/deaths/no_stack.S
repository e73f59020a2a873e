# A 64-bit kernel that calls before it has a stack.
# options: --mode long
# exit: 8
# said: triple fault in 64-bit mode: the instruction at 0x1002 (call 0x0000000000001008) raised #PF (page fault) at 0xfffffffffffffff8: a write to a page that is not mapped
# said: The stack pointer is 0x0: the guest has set up no stack, or has run out of it
# said: 1. 0x1002 (call 0x0000000000001008) raised #PF
.code64
    xor %esp, %esp
    call work
    hlt
work:
    ret
