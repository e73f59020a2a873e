"""`cpu.breakpoints`: what stops a run, and that the guest sees nothing of it."""

from __future__ import annotations

import pytest

from pyhv import GVA, BadArgument, Breakpoint, Halted, MonitorTrap, Watchpoint

from .machine import CODE, DATA, DR6_FIXED, guest

LOOP = "48ffc0 48ffc9 75f8 f4"  # inc rax; dec rcx; jnz; hlt


def test_before_the_instruction_and_once_a_turn() -> None:
    with guest() as g:
        g.load(LOOP)
        g.cpu.regs.rcx = 3
        g.cpu.breakpoints.add(CODE + 3)
        for turn in (1, 2, 3):
            assert g.cpu.run() == Breakpoint(GVA(CODE + 3))
            assert (g.cpu.regs.rip, g.cpu.regs.rax) == (CODE + 3, turn)
        assert g.cpu.run() == Halted()
        assert g.cpu.instructions == 3 * 3 + 1


def test_at_the_very_first_instruction() -> None:
    with guest() as g:
        g.load(LOOP)
        g.cpu.regs.rcx = 1
        g.cpu.breakpoints.add(CODE)
        assert g.cpu.run() == Breakpoint(GVA(CODE))
        assert g.cpu.instructions == 0
        assert g.cpu.run() == Halted()


def test_whoever_moves_rip_there_is_told_again() -> None:
    with guest() as g:
        g.load(LOOP)
        g.cpu.breakpoints.add(CODE)
        assert g.cpu.run() == Breakpoint(GVA(CODE))
        g.cpu.regs.rip = CODE
        assert g.cpu.run() == Breakpoint(GVA(CODE))


def test_step_goes_over_it() -> None:
    with guest() as g:
        g.load(LOOP)
        g.cpu.breakpoints.add(CODE)
        assert g.cpu.step() == MonitorTrap()
        assert g.cpu.regs.rip == CODE + 3


def test_taken_away_it_stops_no_more() -> None:
    with guest() as g:
        g.load(LOOP)
        g.cpu.regs.rcx = 5
        point = g.cpu.breakpoints.add(CODE + 3)
        assert g.cpu.run() == Breakpoint(GVA(CODE + 3))
        assert list(g.cpu.breakpoints) == [point]
        g.cpu.breakpoints.remove(point)
        assert g.cpu.run() == Halted()
        assert len(g.cpu.breakpoints) == 0


@pytest.mark.parametrize(
    ("access", "code", "stops"),
    [
        ("write", "8803", True),  # mov [rbx], al
        ("write", "8a03", False),  # mov al, [rbx]
        ("read", "8a03", True),
        ("read", "8803", False),
        ("access", "8803", True),
        ("access", "8a03", True),
        ("read", "fe03", True),  # inc byte [rbx]
        ("write", "fe03", True),
    ],
)
def test_watchpoints(access: str, code: str, stops: bool) -> None:
    with guest() as g:
        g.load("90" + code + "90 f4")
        g.cpu.regs.rbx = DATA + 5
        g.cpu.breakpoints.add(DATA, 64, access)  # type: ignore[arg-type]
        stopped = g.cpu.run()
        if not stops:
            assert stopped == Halted()
            return
        assert stopped == Watchpoint(GVA(DATA + 5), 1, stopped.wrote)  # type: ignore[union-attr]
        assert g.cpu.regs.rip == CODE + 3
        assert g.cpu.run() == Halted()
        assert g.dr(6) == DR6_FIXED
        assert g.dr(7) == 0x400


def test_a_write_says_so() -> None:
    with guest() as g:
        g.load("668903 f4")  # mov [rbx], ax
        g.cpu.regs.rbx = DATA - 1
        g.cpu.breakpoints.add(DATA, access="write")
        assert g.cpu.run() == Watchpoint(GVA(DATA - 1), 2, True)


def test_the_rest_of_the_page_is_not_watched() -> None:
    with guest() as g:
        g.load("8803 48ffc3 48ffc9 75f6 f4")  # mov [rbx], al; inc rbx; dec rcx; jnz
        g.cpu.regs.rbx, g.cpu.regs.rcx = DATA, 100
        g.cpu.breakpoints.add(DATA + 90, access="write")
        assert g.cpu.run() == Watchpoint(GVA(DATA + 90), 1, True)
        assert g.cpu.regs.rcx == 10
        assert g.cpu.run() == Halted()


def test_wrong_arguments() -> None:
    with guest() as g:
        points = g.cpu.breakpoints
        with pytest.raises(BadArgument, match="size_bytes 1"):
            points.add(CODE, 2)
        with pytest.raises(BadArgument, match="none of execute, write, read, access"):
            points.add(CODE, access="both")  # type: ignore[arg-type]
        with pytest.raises(BadArgument, match="size_bytes"):
            points.add(CODE, 0, "write")
        with pytest.raises(BadArgument, match="end of the address space"):
            points.add((1 << 64) - 1, 2, "write")
        point = points.add(CODE)
        points.clear()
        with pytest.raises(BadArgument, match="there is no"):
            points.remove(point)
