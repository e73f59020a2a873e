# The same up to where memory ends.
# options: --mode protected --memory 2M
# exit: 8
# said: it ran off the end: through zeros, which are instructions too (00 00), up to where memory ends; at 0x200000
.code32
    mov $0x8000, %eax
    mov $0x30000, %ebx
    jmp *%ebx
