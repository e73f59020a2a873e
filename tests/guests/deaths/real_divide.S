# The same in real mode, where the BIOS has the vectors.
# options:
# exit: 8
# said: the instruction at 0000:1004 (div cx) raised #DE (division by zero, or a quotient that does not fit), and the guest has no handler
# said: The divisor is 0
.code16
    xor %dx, %dx
    xor %cx, %cx
    div %cx
    hlt
