# A program without an end: zeros are instructions too, up to the first byte that is none.
# options: --mode protected
# exit: 8
# said: Before it there are only zeros: the guest ran off the end of its code, or jumped to where it has none
# said: add [eax], al
.code32
    mov $0x8000, %eax
    nop
