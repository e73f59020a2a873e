"""Every combination of rights, controls, ring and kind of access, in every mode and page size, against the model."""

from __future__ import annotations

from itertools import product

import pytest

from .model import Access, Controls, Rights, allowed, error_code
from .tables import FULL, MODES, NO_EXECUTE, PRESENT, USER, WRITABLE, Machine, Mode, machine

ACCESSES: tuple[Access, ...] = ("read", "write", "fetch")
BOTH = (False, True)


def bits(rights: Rights, wide: bool) -> int:
    entry = PRESENT | (WRITABLE if rights.writable else 0) | (USER if rights.user else 0)
    return entry | (NO_EXECUTE if rights.no_execute and wide else 0)


def all_controls(mode: Mode) -> list[Controls]:
    nxe = BOTH if mode.wide else (False,)
    return [Controls(*flags, wide=mode.wide) for flags in product(BOTH, BOTH, BOTH, BOTH, nxe)]


def check(m: Machine, level: int, rights: Rights, ring: int, c: Controls) -> list[str]:
    """Put the rights at one level, all others having all, and try each access. What was not as the model says."""
    kept = m.get(level)
    m.put(level, (kept & ~(FULL | NO_EXECUTE)) | bits(rights, m.mode.wide))
    m.cpu.regs.cr3 = m.cpu.regs.cr3  # the host's write forgets all translations
    wrong = []
    for access in ACCESSES:
        want = None if allowed(access, ring, rights, c) else error_code(access, ring, c)
        got = m.fault(access, ring, m.mode.linear + 0x10)
        if got != want:
            wrong.append(f"{access} from ring {ring}, {rights} at level {level}, {c}: error code {got}, not {want}")
    m.put(level, kept)
    return wrong


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_rights(mode: Mode) -> None:
    wrong: list[str] = []
    cases = 0
    with machine(mode) as m:
        for c, ring in product(all_controls(mode), (0, 3)):
            m.ring(ring)
            m.control(c)
            m.cpu.regs.rflags = 2 | (1 << 18 if c.ac else 0)
            for level, flags in product(m.rights(), product(BOTH, BOTH, BOTH if c.nxe else (False,))):
                wrong += check(m, level, Rights(*flags), ring, c)
                cases += len(ACCESSES)
    assert not wrong, f"{len(wrong)} of {cases} differ; the first: {wrong[0]}"
    assert cases >= 384


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_not_present(mode: Mode) -> None:
    with machine(mode) as m:
        for c, ring in product(all_controls(mode), (0, 3)):
            m.ring(ring)
            m.control(c)
            for level in m.rights():
                kept = m.get(level)
                m.put(level, kept & ~PRESENT)
                m.cpu.regs.cr3 = m.cpu.regs.cr3
                for access in ACCESSES:
                    assert m.fault(access, ring, mode.linear) == error_code(access, ring, c, present=False)
                m.put(level, kept)
