"""Writes of control registers and EFER: what is refused, what the others do. PDPTE registers, INVPCID's checks."""

from __future__ import annotations

import struct

import pytest

from pyhv import AccessRights, Exception, Exit, MonitorTrap, Segment, default_cpuid
from pyhv.arch.x86_64.vmcs import Vmcs

from .machine import DATA, TABLES, Guest, guest
from .model import Controls
from .tables import MODES, machine

PE, PG, NW, CD, WP = 1, 1 << 31, 1 << 29, 1 << 30, 1 << 16
PAE, PGE, DE, UMIP, LA57, VMXE = 1 << 5, 1 << 7, 1 << 3, 1 << 11, 1 << 12, 1 << 13
FSGSBASE, PCIDE, SMEP, SMAP = 1 << 16, 1 << 17, 1 << 20, 1 << 21
GP = 13
PLAIN = Controls(wp=True, smep=False, smap=False, ac=False, nxe=False, wide=True)


def write(g: Guest, number: int, value: int) -> Exit:
    """MOV to a control register, alone."""
    g.cpu.controls.exception_bitmap = 1 << GP
    g.load(f"0f22{0xC0 | number << 3:02x}")
    g.cpu.regs.rax = value
    return g.cpu.step()


def refused(stopped: Exit) -> bool:
    assert stopped in (MonitorTrap(), Exception(GP, 0, None)), stopped
    return stopped != MonitorTrap()


@pytest.mark.parametrize(
    ("number", "value", "refuses"),
    [
        (0, PE | PG | WP, False),
        (0, PE | PG | NW | CD, False),
        (0, PE | PG | NW, True),
        (0, PG, True),
        (0, PE, True),  # paging cannot go in 64-bit code
        (0, PE | PG | 1 << 32, True),
        (3, TABLES, False),
        (3, TABLES | 0xFFF, False),
        (3, 1 << 40, True),
        (3, TABLES | 1 << 63, True),
        (4, PAE | PGE | DE | UMIP | FSGSBASE | SMEP | SMAP, False),
        (4, PAE | VMXE, False),
        (4, PGE, True),
        (4, PAE | LA57, True),
        (4, PAE | PCIDE, False),
        (4, PAE | 1 << 22, True),
        (4, PAE | 1 << 32, True),
    ],
)
@pytest.mark.judges("MOV cr ry")
def test_in_64_bit_mode(number: int, value: int, refuses: bool) -> None:
    with guest() as g:
        before = (g.cpu.regs.cr0, g.cpu.regs.cr3, g.cpu.regs.cr4)
        assert refused(write(g, number, value)) is refuses
        if refuses:
            assert (g.cpu.regs.cr0, g.cpu.regs.cr3, g.cpu.regs.cr4) == before


def test_pcids_begin_in_context_0_and_stay_with_paging() -> None:
    with guest() as g:
        assert not refused(write(g, 3, TABLES | 1))
        assert refused(write(g, 4, PAE | PCIDE))
        assert not refused(write(g, 3, TABLES))
        assert not refused(write(g, 4, PAE | PCIDE))
        assert not refused(write(g, 3, TABLES | 0xABC | 1 << 63))


def test_what_cpuid_does_not_announce_is_reserved() -> None:
    with guest() as g:
        bits = {7: [0, ~(1 << 7 | 1 << 20 | 1), ~(1 << 2), 0]}
        rows = [
            row if row[0] != 7 else (7, 0, row[2], row[3] & bits[7][1], row[4] & bits[7][2], 0)
            for row in default_cpuid()
        ]
        g.cpu.cpuid = rows
        for bit in (SMEP, SMAP, UMIP, FSGSBASE):
            assert refused(write(g, 4, PAE | bit))


def test_five_levels_are_entered_where_cpuid_announces_them() -> None:
    mode = next(mode for mode in MODES if mode.name == "5-level-4K")
    with machine(mode) as m:
        m.ring(0)
        m.control(PLAIN)
        m.cpu.regs.cr4 = PAE  # paging off, so that the guest itself may turn all of it on
        m.cpu.regs.cr0 = PE
        m.cpu.write_vmcs(Vmcs.GUEST_EFER, 0x100)
        m.cpu.segments.cs = Segment(8, 0, 0xFFFF_FFFF, AccessRights(0x9B).replace(db=1, g=1))
        code = bytes.fromhex("0f22e0 0f22d9 0f22c2")  # mov cr4, eax; mov cr3, ecx; mov cr0, edx
        m.ram[0x1000 : 0x1000 + len(code)] = code
        m.cpu.regs.rip, m.cpu.regs.rax, m.cpu.regs.rcx, m.cpu.regs.rdx = 0x1000, PAE | LA57, 0x10_0000, PE | PG
        for _ in range(3):
            assert m.cpu.step() == MonitorTrap()
        assert m.cpu.translate(mode.linear) == mode.frame


def test_pdptes_are_registers() -> None:
    with machine(next(mode for mode in MODES if mode.name == "pae-4K")) as m:
        m.ring(0)
        m.control(PLAIN)
        pdpte = m.entries[3]
        assert m.fault("read", 0, m.mode.linear) is None
        kept = bytes(m.ram[pdpte : pdpte + 8])
        m.ram[pdpte : pdpte + 8] = bytes(8)
        m.cpu.engine.invalidate_tlb()
        assert m.fault("read", 0, m.mode.linear) is None, "the change in memory is not seen"
        code = bytes.fromhex("0f22d9")  # mov cr3, ecx
        m.ram[0x1000:0x1003] = code
        m.cpu.regs.rip, m.cpu.regs.rcx = 0x1000, 0x10_0000
        m.cpu.step()
        assert m.fault("read", 0, m.mode.linear) == 0
        m.ram[pdpte : pdpte + 8] = kept
        m.cpu.regs.rip = 0x1000
        m.cpu.step()
        assert m.fault("read", 0, m.mode.linear) is None


@pytest.mark.parametrize("bit", [1, 2, 5, 6, 7, 8, 40, 51, 52, 62, 63])
@pytest.mark.parametrize("present", [True, False])
def test_reserved_bits_of_a_pdpte_refuse_the_load(bit: int, present: bool) -> None:
    with machine(next(mode for mode in MODES if mode.name == "pae-4K")) as m:
        m.ring(0)
        m.control(PLAIN)
        m.cpu.controls.exception_bitmap = 1 << GP
        m.ram[0x1000:0x1003] = bytes.fromhex("0f22d9")
        m.ram[0x3000:0x3020] = struct.pack("<QQQQ", 0, 0, 0, 1 << bit | present)
        m.ram[0x3000:0x3008] = m.ram[0x10_0000:0x10_0008]
        m.cpu.regs.rip, m.cpu.regs.rcx = 0x1000, 0x3000
        assert refused(m.cpu.step()) is present
        assert m.cpu.regs.cr3 == (0x10_0000 if present else 0x3000)


@pytest.mark.parametrize(
    ("kind", "pcid", "linear", "cr4", "refuses"),
    [
        (4, 0, 0, 0, True),
        (1 << 32, 0, 0, 0, True),
        (2, 1 << 12, 0, 0, True),
        (0, 0, 1 << 47, 0, True),
        (1, 0, 1 << 47, 0, False),
        (0, 1, 0, 0, True),
        (1, 1, 0, 0, True),
        (2, 1, 0, 0, False),
        (0, 1, 0, PCIDE, False),
        (1, 0xFFF, 0, PCIDE, False),
    ],
)
@pytest.mark.judges("INVPCID")
def test_invpcid_checks(kind: int, pcid: int, linear: int, cr4: int, refuses: bool) -> None:
    with guest() as g:
        g.cpu.regs.cr4 |= cr4
        g.ram[DATA : DATA + 16] = struct.pack("<QQ", pcid, linear)
        g.cpu.controls.exception_bitmap = 1 << GP
        g.load("660f38821c25 00300000")
        g.cpu.regs.rbx = kind
        assert refused(g.cpu.step()) is refuses


@pytest.mark.judges("WRMSR")
def test_efer_keeps_lma_and_refuses_what_it_does_not_have() -> None:
    with guest() as g:
        for value, refuses in ((0xD01, False), (0x801, True), (0x1D01, True), (0x901, False)):
            g.cpu.controls.exception_bitmap = 1 << GP
            g.load("0f30")
            g.cpu.regs.rcx, g.cpu.regs.rax, g.cpu.regs.rdx = 0xC000_0080, value, 0
            assert refused(g.cpu.step()) is refuses, hex(value)
        assert g.cpu.read_vmcs(Vmcs.GUEST_EFER) == 0xD01
