# Waits for a device that is not there.
# options: --mode protected --max-instructions 100000
# exit: 14
# said: it was at 0x10
# said: in a loop between 0x1004 and 0x1005
# said: port 0x5000 was read
# said: times; no device is there, it reads as ones
.code32
    mov $0x5000, %dx
1:  in %dx, %al
    test $0x80, %al
    jnz 1b
    hlt
