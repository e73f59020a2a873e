"""Layouts of the x86-64 registers that are made of bits. Intel SDM vol. 1 and 3A; each class names its section."""

from __future__ import annotations

from ..bits import Bits, bit, bits


class RFlags(Bits, width=64):
    """RFLAGS. SDM vol. 1, "EFLAGS Register". Bit 1 is always set."""

    cf = bit(0)  # carry
    pf = bit(2)  # parity of the low byte
    af = bit(4)  # auxiliary carry
    zf = bit(6)  # zero
    sf = bit(7)  # sign
    tf = bit(8)  # trap: #DB after each instruction
    if_ = bit(9)  # interrupts enabled
    df = bit(10)  # string instructions go down
    of = bit(11)  # overflow
    iopl = bits(13, 12)  # I/O privilege level
    nt = bit(14)  # nested task
    rf = bit(16)  # resume: instruction breakpoints are ignored once
    vm = bit(17)  # virtual-8086 mode
    ac = bit(18)  # alignment check, and SMAP override
    vif = bit(19)
    vip = bit(20)
    id = bit(21)  # CPUID is there when it can be toggled


class Cr0(Bits, width=64):
    """CR0. SDM vol. 3A, "Control Registers"."""

    pe = bit(0)  # protected mode
    mp = bit(1)
    em = bit(2)
    ts = bit(3)
    et = bit(4)
    ne = bit(5)
    wp = bit(16)  # supervisor writes respect read-only pages
    am = bit(18)
    nw = bit(29)
    cd = bit(30)
    pg = bit(31)  # paging


class Cr4(Bits, width=64):
    """CR4. SDM vol. 3A, "Control Registers"."""

    vme = bit(0)
    pvi = bit(1)
    tsd = bit(2)
    de = bit(3)
    pse = bit(4)
    pae = bit(5)
    mce = bit(6)
    pge = bit(7)
    pce = bit(8)
    osfxsr = bit(9)
    osxmmexcpt = bit(10)
    umip = bit(11)
    la57 = bit(12)
    vmxe = bit(13)
    smxe = bit(14)
    fsgsbase = bit(16)
    pcide = bit(17)
    osxsave = bit(18)
    smep = bit(20)
    smap = bit(21)
    pke = bit(22)


class Efer(Bits, width=64):
    """IA32_EFER. SDM vol. 3A, "Extended Feature Enable Register"."""

    sce = bit(0)  # SYSCALL
    lme = bit(8)  # 64-bit mode enabled
    lma = bit(10)  # 64-bit mode active
    nxe = bit(11)  # execute-disable bit in page tables


class AccessRights(Bits, width=32):
    """Access rights of a segment, as the VMCS has them. SDM vol. 3C, "Format of Access Rights"."""

    type = bits(3, 0)
    s = bit(4)  # code or data, not a system segment
    dpl = bits(6, 5)
    p = bit(7)  # present
    avl = bit(12)
    l = bit(13)  # noqa: E741 - 64-bit code; the manual's own letter
    db = bit(14)  # 32-bit default size
    g = bit(15)  # limit counts 4 KiB units
    unusable = bit(16)


class InterruptionInfo(Bits, width=32):
    """An event that is delivered: the VMCS interruption-information fields. SDM vol. 3C, "Format of the VM-Entry
    Interruption-Information Field"."""

    vector = bits(7, 0)
    kind = bits(10, 8)
    error_code = bit(11)  # an error code belongs to it
    valid = bit(31)


class Interruptibility(Bits, width=32):
    """What holds interrupts back besides RFLAGS.IF. SDM vol. 3C, "Format of Interruptibility State"."""

    sti = bit(0)
    mov_ss = bit(1)
    smi = bit(2)
    nmi = bit(3)
