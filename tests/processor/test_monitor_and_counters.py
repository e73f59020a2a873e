"""MONITOR and MWAIT where CPUID announces them, and RDPMC on a processor without counters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyhv import AccessRights, Exception, Exit, MonitorTrap, Segment, Unnamed, default_cpuid
from pyhv.arch.x86_64.vmcs import Vmcs

from .machine import DATA, Guest, guest

MONITOR, MWAIT, RDPMC = "0f01c8", "0f01c9", "0f33"
UD, GP, PF = 6, 13, 14
CR4_PCE, FEATURE = 1 << 8, 1 << 3  # CPUID.1:ECX.MONITOR
ABSENT = 0x40_0000
REASON_RDPMC, REASON_MWAIT, REASON_MONITOR = 15, 36, 39


@pytest.fixture
def with_monitor() -> Iterator[Guest]:
    with guest() as g:
        yield g


def step(g: Guest, code: str, *, ring: int = 0, eax: int = DATA, ecx: int = 0) -> Exit:
    """One instruction in 64-bit code of a ring."""
    g.cpu.controls.exception_bitmap = 1 << UD | 1 << GP | 1 << PF
    g.cpu.segments.cs = Segment(8 | ring, 0, 0xFFFF_FFFF, AccessRights(0x9B | ring << 5).replace(l=1, g=1))
    g.cpu.segments.ss = Segment(0x10 | ring, 0, 0xFFFF_FFFF, AccessRights(0x93 | ring << 5).replace(db=1, g=1))
    g.cpu.regs.rax, g.cpu.regs.rcx, g.cpu.regs.rdx = eax, ecx, 0
    g.load(code)
    return g.cpu.step()


@pytest.mark.judges("MONITOR", "MWAIT")
def test_waiting_is_a_hint(with_monitor: Guest) -> None:
    """Intel SDM vol. 2, "MONITOR—Set Up Monitor Address", "MWAIT—Monitor Wait"; with and without an armed monitor."""
    for code in (MWAIT, MONITOR, MWAIT, MWAIT):
        before = with_monitor.cpu.regs.rip = 0x1000
        assert step(with_monitor, code) == MonitorTrap()
        assert with_monitor.cpu.regs.rip == before + 3
    assert step(with_monitor, MWAIT, ecx=1) == MonitorTrap()  # interrupts break the wait though they are masked


@pytest.mark.judges("MONITOR")
def test_monitor_touches_its_address(with_monitor: Guest) -> None:
    g = with_monitor
    assert step(g, MONITOR, eax=ABSENT) == Exception(PF, 0, ABSENT)
    assert step(g, "67" + MONITOR, eax=1 << 32 | DATA) == MonitorTrap()  # EAX with 32-bit addresses
    assert step(g, MONITOR, eax=1 << 63) == Exception(GP, 0, None)
    assert step(g, MONITOR, eax=ABSENT, ecx=1) == Exception(GP, 0, None)  # no extensions


@pytest.mark.judges("MWAIT")
def test_mwait_refuses_other_extensions(with_monitor: Guest) -> None:
    assert step(with_monitor, MWAIT, ecx=2) == Exception(GP, 0, None)


@pytest.mark.parametrize("code", [MONITOR, MWAIT])
def test_waiting_is_undefined_in_user_mode_and_where_it_is_not_announced(with_monitor: Guest, code: str) -> None:
    assert step(with_monitor, code, ring=3) == Exception(UD, None, None)
    rows = [[*row] for row in default_cpuid()]
    for row in rows:
        if row[0] == 1:
            row[4] &= ~FEATURE
    with_monitor.cpu.engine.set_cpuid([tuple(row) for row in rows])
    assert step(with_monitor, code) == Exception(UD, None, None)


@pytest.mark.parametrize(
    ("code", "control", "reason"),
    [(MONITOR, "monitor", REASON_MONITOR), (MWAIT, "mwait", REASON_MWAIT), (RDPMC, "rdpmc", REASON_RDPMC)],
)
def test_each_is_an_exit_by_its_control(with_monitor: Guest, code: str, control: str, reason: int) -> None:
    setattr(with_monitor.cpu.controls, control, True)
    stopped = step(with_monitor, code)
    assert isinstance(stopped, Unnamed)
    assert with_monitor.cpu.engine.read_vmcs(Vmcs.EXIT_REASON) == reason
    fault = GP if code == RDPMC else UD
    assert step(with_monitor, code, ring=3) == Exception(fault, 0 if fault == GP else None, None)


@pytest.mark.judges("RDPMC")
@pytest.mark.parametrize("ring", [0, 3])
@pytest.mark.parametrize("cr4", [0, CR4_PCE])
def test_there_is_no_counter_to_read(ring: int, cr4: int) -> None:
    """Intel SDM vol. 2, "RDPMC—Read Performance-Monitoring Counters": CPUID leaf 0AH announces none."""
    with guest() as g:
        g.cpu.regs.cr4 |= cr4
        for index in (0, 1, 1 << 30):
            assert step(g, RDPMC, ring=ring, ecx=index) == Exception(GP, 0, None)
        assert not any(row[2] & 0xFF for row in default_cpuid() if row[0] == 10)


def test_an_idle_loop_of_mwait_sleeps_and_is_woken(with_monitor: Guest) -> None:
    """A thousand waits of a millisecond at most cost little processor time; a kick ends one at once."""
    g = with_monitor
    g.load(f"{MONITOR} {MWAIT} eb f8")  # monitor; mwait; jmp back
    g.cpu.regs.rax, g.cpu.regs.rcx, g.cpu.regs.rdx = DATA, 0, 0
    g.cpu.run(deadline_ns=g.cpu.vm.clock.now_ns + 300_000_000)
    assert g.cpu.idle_time_ns > 200_000_000
    assert g.cpu.instructions < 3 * 30_000, "each wait is long against the instructions around it"
