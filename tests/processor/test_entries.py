"""Accessed and dirty bits, and reserved bits. Intel SDM vol. 3, "Accessed and Dirty Flags", "Page-Fault Exceptions"."""

from __future__ import annotations

import pytest

from .model import Access, Controls, Fault
from .tables import ACCESSED, DIRTY, LARGE, MODES, NO_EXECUTE, PRESENT, WRITABLE, Mode, machine

PLAIN = Controls(wp=True, smep=False, smap=False, ac=False, nxe=False, wide=True)
NX = Controls(wp=True, smep=False, smap=False, ac=False, nxe=True, wide=True)
PHYSICAL_BITS = 40


@pytest.mark.parametrize("access", ["read", "write", "fetch"])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_marks(mode: Mode, access: Access) -> None:
    with machine(mode) as m:
        m.ring(0)
        m.control(PLAIN)
        before = {level: m.get(level) for level in m.rights()}
        assert m.fault(access, 0, mode.linear) is None
        for level, entry in before.items():
            last = level == mode.page_level
            want = ACCESSED | (DIRTY if last and access == "write" else 0)
            assert m.get(level) == entry | want, f"level {level}"


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_dirty_comes_with_the_first_write_after_a_read(mode: Mode) -> None:
    with machine(mode) as m:
        m.ring(0)
        m.control(PLAIN)
        for access, dirty in (("read", 0), ("read", 0), ("write", DIRTY)):
            assert m.fault(access, 0, mode.linear) is None  # type: ignore[arg-type]
            assert m.get(mode.page_level) & DIRTY == dirty


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_fault_marks_nothing(mode: Mode) -> None:
    with machine(mode) as m:
        m.ring(0)
        m.control(PLAIN)
        m.put(mode.page_level, m.get(mode.page_level) & ~WRITABLE)
        before = {level: m.get(level) for level in m.rights()}
        assert m.fault("write", 0, mode.linear) == Fault.PRESENT | Fault.WRITE
        assert {level: m.get(level) for level in m.rights()} == before


def reserved(mode: Mode, level: int) -> list[int]:
    """The bits that must be 0 in an entry of this level. SDM, figures and tables of the formats."""
    last = level == mode.page_level
    if not mode.wide:
        return [21] if last and level == 2 else []
    bits = [*range(PHYSICAL_BITS, 52), 63]  # XD without EFER.NXE
    if mode.levels == 3:
        bits += range(52, 63)
    if last and level > 1:
        bits += range(13, mode.shift(level))
    if level > 3:
        bits.append(7)
    return bits


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_reserved_bits(mode: Mode) -> None:
    with machine(mode) as m:
        m.ring(3)
        m.control(PLAIN)
        for level in m.rights():
            kept = m.get(level)
            for bit in range(12, 64 if mode.wide else 32):
                if bit not in reserved(mode, level):
                    continue
                m.put(level, kept | 1 << bit)
                m.cpu.regs.cr3 = m.cpu.regs.cr3
                assert m.fault("read", 3, mode.linear) == Fault.PRESENT | Fault.USER | Fault.RESERVED, (level, bit)
                m.put(level, (kept | 1 << bit) & ~PRESENT)  # not present: the other bits do not count
                m.cpu.regs.cr3 = m.cpu.regs.cr3
                assert m.fault("read", 3, mode.linear) == Fault.USER
            m.put(level, kept)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.wide], ids=str)
def test_what_is_ignored_may_be_set(mode: Mode) -> None:
    with machine(mode) as m:
        m.ring(3)
        m.control(NX)
        ignored = range(52, 59) if mode.long else ()
        for level in m.rights():
            m.put(level, m.get(level) | NO_EXECUTE | 0xE00 | sum(1 << bit for bit in ignored))  # AVL
            if level == mode.page_level:
                m.put(level, m.get(level) | (1 << 12 if level > 1 else LARGE))  # PAT
        assert m.fault("write", 3, mode.linear) is None


def test_pse36_reaches_beyond_4_gib() -> None:
    mode = next(mode for mode in MODES if mode.name == "32-bit-4M")
    with machine(mode) as m:
        far = m.vm.map(at=0x12_3440_0000, size=0x1000)
        m.ring(0)
        m.control(PLAIN)
        m.put(2, 0x3440_0000 | 0x12 << 13 | LARGE | PRESENT | WRITABLE)
        m.cpu.regs.cr3 = m.cpu.regs.cr3
        m.cpu.regs.rax = 0x5A
        assert m.fault("write", 0, mode.linear + 8) is None
        assert far[8] == 0x5A
