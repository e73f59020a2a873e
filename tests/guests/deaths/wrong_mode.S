# Long mode is switched on before PAE.
# options: --mode protected
# exit: 8
# said: (mov cr0, eax) raised #GP (general protection)
# said: CR0.PG with EFER.LME while CR4.PAE is 0: long mode needs PAE first
.code32
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov $0x20000, %eax
    mov %eax, %cr3
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    hlt
