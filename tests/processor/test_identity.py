"""Instructions that CR4 opens and closes, SMAP's implicit accesses, and alignment checks."""

from __future__ import annotations

import struct

import pytest

from pyhv import AccessRights, Cr0, Exception, Exit, Halted, MonitorTrap, PortIn, Segment
from pyhv.arch.x86_64.registers import Reg

from .machine import CODE, DATA, GDT, TABLES, Guest, guest

UMIP, FSGSBASE, SMAP = 1 << 11, 1 << 16, 1 << 21
AC = 1 << 18
UD, GP, PF, ALIGN = 6, 13, 14, 17
FAULTS = 1 << UD | 1 << GP | 1 << PF | 1 << ALIGN
TSC_AUX = 0xC000_0103


def step(g: Guest, code: str, ring: int = 0) -> Exit:
    """One instruction in 64-bit code of a ring."""
    g.cpu.controls.exception_bitmap = FAULTS
    g.cpu.segments.cs = Segment(8 | ring, 0, 0xFFFF_FFFF, AccessRights(0x9B | ring << 5).replace(l=1, g=1))
    g.cpu.segments.ss = Segment(0x10 | ring, 0, 0xFFFF_FFFF, AccessRights(0x93 | ring << 5).replace(db=1, g=1))
    g.load(code)
    return g.cpu.step()


LOOKS = {
    "SGDT": "0f010425 00300000",
    "SIDT": "0f010c25 00300000",
    "SLDT": "0f00c0",
    "STR": "0f00c8",
    "SMSW": "0f01e0",
}


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize("ring", [0, 3])
@pytest.mark.parametrize("umip", [False, True])
def test_umip(name: str, ring: int, umip: bool) -> None:
    with guest() as g:
        g.cpu.regs.cr4 |= UMIP if umip else 0
        want = Exception(GP, 0, None) if umip and ring == 3 else MonitorTrap()
        assert step(g, LOOKS[name], ring) == want


@pytest.mark.parametrize("ring", [0, 3])
@pytest.mark.judges("RDFSBASE", "RDGSBASE", "WRFSBASE", "WRGSBASE")
def test_fsgsbase(ring: int) -> None:
    with guest() as g:
        for code in ("f3480faec0", "f3480faec8", "f3480faed0", "f3480faed8"):
            assert step(g, code, ring) == Exception(UD, None, None)
        g.cpu.regs.cr4 |= FSGSBASE
        g.cpu.regs.rax = 0x7FFF_FFFF_F000
        assert step(g, "f3480faed0", ring) == MonitorTrap()  # wrfsbase rax
        assert g.cpu.segments.fs.base == 0x7FFF_FFFF_F000
        assert step(g, "f3480faec3", ring) == MonitorTrap()  # rdfsbase rbx
        assert g.cpu.regs.rbx == 0x7FFF_FFFF_F000
        assert step(g, "f30faed8", ring) == MonitorTrap()  # wrgsbase eax
        assert g.cpu.segments.gs.base == 0xFFFF_F000
        g.cpu.regs.rax = 1 << 47
        assert step(g, "f3480faed8", ring) == Exception(GP, 0, None)
        assert g.cpu.segments.gs.base == 0xFFFF_F000


@pytest.mark.judges("RDPID")
def test_rdpid_gives_tsc_aux_at_any_level() -> None:
    with guest() as g:
        g.cpu.msrs[TSC_AUX] = 0x1234_5678
        assert step(g, "f30fc7f8", 3) == MonitorTrap()
        assert g.cpu.regs.rax == 0x1234_5678


@pytest.mark.judges("CLAC", "STAC")
def test_clac_and_stac() -> None:
    with guest() as g:
        assert step(g, "0f01cb") == MonitorTrap()
        assert g.cpu.regs.rflags & AC
        assert step(g, "0f01ca") == MonitorTrap()
        assert not g.cpu.regs.rflags & AC
        for code in ("0f01cb", "0f01ca"):
            assert step(g, code, 3) == Exception(UD, None, None)


def test_the_guest_opens_and_closes_user_memory() -> None:
    with guest() as g:
        user = TABLES + 0x2008
        g.ram[TABLES + 0x2000 : TABLES + 0x2008] = struct.pack("<Q", 3 | 1 << 7)  # ours: a supervisor's
        g.ram[user : user + 8] = struct.pack("<Q", 0x20_0000 | 7 | 1 << 7)
        g.cpu.regs.cr4 |= SMAP
        g.cpu.regs.rbx = 0x20_0000
        g.cpu.controls.exception_bitmap = FAULTS
        g.load("0f01cb 8803 0f01ca 8803")  # stac; mov [rbx], al; clac; mov [rbx], al
        assert g.cpu.run() == Exception(PF, 3, 0x20_0000)  # type: ignore[arg-type]
        assert g.cpu.regs.rip == CODE + 8


@pytest.mark.parametrize("ac", [False, True])
def test_ac_does_not_open_user_memory_to_the_processor_itself(ac: bool) -> None:
    with guest() as g:
        user = TABLES + 0x2008
        g.ram[TABLES + 0x2000 : TABLES + 0x2008] = struct.pack("<Q", 3 | 1 << 7)
        g.ram[user : user + 8] = struct.pack("<Q", 0x20_0000 | 7 | 1 << 7)
        g.ram[0x20_0000:0x20_0018] = g.ram[GDT : GDT + 24]
        g.cpu.engine.write_register(Reg.GDT_BASE, 0x20_0000)
        g.cpu.regs.cr4 |= SMAP
        g.cpu.regs.rflags = 2 | (AC if ac else 0)
        g.cpu.regs.rax = 0x10
        assert step(g, "8ed8") == Exception(PF, 1, 0x20_0010)  # type: ignore[arg-type]


ACCESSES = [
    ("668b03", 2, "mov ax, [rbx]"),
    ("8b03", 4, "mov eax, [rbx]"),
    ("488b03", 8, "mov rax, [rbx]"),
    ("8903", 4, "mov [rbx], eax"),
    ("48ff03", 8, "inc qword [rbx]"),
    ("f0ff03", 4, "lock inc dword [rbx]"),
    ("ff33", 8, "push [rbx]"),
    ("66a5", 2, "movsw"),
    ("8a03", 1, "mov al, [rbx]"),
]


@pytest.mark.parametrize(("code", "size", "name"), ACCESSES)
@pytest.mark.parametrize("switches", [(1, 1, 3), (0, 1, 3), (1, 0, 3), (1, 1, 0)], ids=str)
def test_alignment_check(code: str, size: int, name: str, switches: tuple[int, int, int]) -> None:
    am, ac, ring = switches
    with guest() as g:
        for misalignment in range(size + 1):
            at = DATA + 0x40 + misalignment
            g.cpu.regs.cr0 = Cr0(g.cpu.regs.cr0).replace(am=am)
            g.cpu.regs.rflags = 2 | (AC if ac else 0)
            g.cpu.regs.rbx = g.cpu.regs.rsi = at
            g.cpu.regs.rdi, g.cpu.regs.rsp = DATA + 0x80, 0x8000
            checked = am and ac and ring == 3 and at % size
            assert step(g, code, ring) == (Exception(ALIGN, 0, None) if checked else MonitorTrap()), (
                name,
                misalignment,
            )


def test_alignment_comes_before_the_page_fault() -> None:
    with guest() as g:
        g.cpu.regs.cr0 = Cr0(g.cpu.regs.cr0).replace(am=1)
        g.cpu.regs.rflags = 2 | AC
        g.cpu.regs.rbx = 0x7000_0001
        assert step(g, "8b03", 3) == Exception(ALIGN, 0, None)
        g.cpu.regs.rbx = 0x7000_0000
        assert step(g, "8b03", 3) == Exception(PF, 4, 0x7000_0000)  # type: ignore[arg-type]


def test_ins_checks_alignment_before_the_port_is_read() -> None:
    """What a device gave would be lost."""
    with guest() as g:
        g.cpu.regs.cr0 = Cr0(g.cpu.regs.cr0).replace(am=1)
        g.cpu.regs.rflags = 2 | AC | 3 << 12
        g.cpu.regs.rdi, g.cpu.regs.rdx = DATA + 1, 0x80
        assert step(g, "6d", 3) == Exception(ALIGN, 0, None)  # insd
        g.cpu.regs.rdi = DATA
        assert step(g, "6d", 3) == PortIn(0x80, 4, 1)


def test_the_guest_asks_which_microcode_update_it_runs() -> None:
    """SDM vol. 3A, "Microcode Update Facilities", "Determining the Signature": write 0, CPUID, read."""
    with guest() as g:
        g.load("b98b000000 31c0 31d2 0f30 b801000000 0fa2 b98b000000 0f32 f4")
        g.cpu.regs.rdx = 7
        assert g.cpu.run() == Halted()
        assert (g.cpu.regs.rax, g.cpu.regs.rdx) == (0, 0)
