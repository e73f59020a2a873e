# A division by zero, and no handler for it.
# options: --mode protected
# exit: 8
# said: triple fault in 32-bit protected mode: the instruction at 0x1004 (div ecx) raised #DE (division by zero
# said: The divisor is 0, or the quotient too large for its register
# said: delivering #DE raised #GP
.code32
    xor %edx, %edx
    xor %ecx, %ecx
    div %ecx
    hlt
