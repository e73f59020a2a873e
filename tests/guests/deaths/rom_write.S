# Variables where there is no memory: what is stored there is lost, and the loop never ends.
# options: --mode protected --max-instructions 100000
# exit: 14
# said: gpa 0xf0000000 was written
# said: times; no device is there, what is written there is lost
.code32
    mov $0xf0000000, %ebx
1:  incl (%ebx)
    cmpl $0, (%ebx)
    jne 1b
    hlt
