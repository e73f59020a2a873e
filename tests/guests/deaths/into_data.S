# A 64-bit kernel jumps to its greeting. Of "Go to the data" the first byte that is no instruction in 64-bit code ends it.
# options: --mode long
# exit: 8
# said: triple fault in 64-bit mode: the instruction at 0x1002 (bytes that are no instruction) raised #UD
# said: The bytes here are text, "/dev/null is no code": the guest jumped into its data
.code64
    jmp greeting
greeting:
    .ascii "/dev/null is no code"
