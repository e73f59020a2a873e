"""Register ids, the numbers that every engine's `read_register` takes. Apple.

Hv_x86_reg_t in Hypervisor/hv_arch_x86.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Reg(IntEnum):
    """A register by its HV_X86_ number."""

    RIP = 0
    RFLAGS = 1
    RAX = 2
    RCX = 3
    RDX = 4
    RBX = 5
    RSI = 6
    RDI = 7
    RSP = 8
    RBP = 9
    R8 = 10
    R9 = 11
    R10 = 12
    R11 = 13
    R12 = 14
    R13 = 15
    R14 = 16
    R15 = 17
    CS = 18
    SS = 19
    DS = 20
    ES = 21
    FS = 22
    GS = 23
    IDT_BASE = 24
    IDT_LIMIT = 25
    GDT_BASE = 26
    GDT_LIMIT = 27
    LDTR = 28
    LDT_BASE = 29
    LDT_LIMIT = 30
    LDT_AR = 31
    TR = 32
    TSS_BASE = 33
    TSS_LIMIT = 34
    TSS_AR = 35
    CR0 = 36
    CR1 = 37
    CR2 = 38
    CR3 = 39
    CR4 = 40
    DR0 = 41
    DR1 = 42
    DR2 = 43
    DR3 = 44
    DR4 = 45
    DR5 = 46
    DR6 = 47
    DR7 = 48
    TPR = 49
    XCR0 = 50


GENERAL: Final = tuple(Reg(number) for number in range(Reg.RIP, Reg.R15 + 1))
"""RIP, RFLAGS and the sixteen general registers."""

CONTROL: Final = (Reg.CR0, Reg.CR2, Reg.CR3, Reg.CR4, Reg.TPR, Reg.XCR0)
"""Control registers that hold state of their own (CR8 is TPR >> 4; CR1 does not exist)."""

DEBUG: Final = (Reg.DR0, Reg.DR1, Reg.DR2, Reg.DR3, Reg.DR6, Reg.DR7)
"""Debug registers that hold state of their own (DR4 and DR5 are names for DR6 and DR7)."""
