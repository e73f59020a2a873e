"""Promises of the objects: single steps, breakpoints and watchpoints."""

from __future__ import annotations

import time

from .. import Breakpoint, BudgetSpent, DeadlinePassed, Halted, Kicked, MonitorTrap, PortIn, PortOut, Watchpoint
from ..addresses import GVA
from ._promise import promise
from .guest import CODE, Guest, enter_user, guest, thread, waiting

DATA = 0x3000
LOOP = "40 40 40 ebfb"  # inc ax, three times; jmp back
STORES = "b90000 bb0030 8807 43 e2fb f4"  # mov cx,0; mov bx,DATA; next: mov [bx],al; inc bx; loop; hlt


def _at_data(g: Guest) -> None:
    g.cpu.segments.ds.load_real(0)
    g.cpu.regs.rbx = DATA + 5


@promise
def a_step_is_one_instruction(engine: str) -> None:
    """objects: in kernel and in user code; RIP is on the next one."""
    for enter in (lambda _: None, enter_user):
        with guest(engine, "90 88c0 90 90 f4") as g:
            enter(g)
            for behind in (1, 3, 4):
                assert g.cpu.step() == MonitorTrap()
                assert g.cpu.regs.rip == CODE + behind
            assert g.cpu.run(budget=1) == BudgetSpent()
            assert g.cpu.regs.rip == CODE + 5


@promise
def a_breakpoint_comes_before_its_instruction(engine: str) -> None:
    """objects: once a turn, the next run begins with it; a step goes over it; who moves RIP there is told again."""
    with guest(engine, LOOP) as g:
        g.cpu.breakpoints.add(CODE + 1)
        g.cpu.breakpoints.add(CODE + 2)
        for at, ax in ((1, 1), (2, 2), (1, 4), (2, 5)):
            assert g.cpu.run() == Breakpoint(GVA(CODE + at))
            assert (g.cpu.regs.rip, g.cpu.regs.ax) == (CODE + at, ax)
        assert g.cpu.run(budget=2) == BudgetSpent()
        assert g.cpu.step() == MonitorTrap()
        assert g.cpu.run(budget=5) == Breakpoint(GVA(CODE + 1))
        g.cpu.regs.rip = CODE + 1
        assert g.cpu.run() == Breakpoint(GVA(CODE + 1))
        assert g.cpu.run() == Breakpoint(GVA(CODE + 2))
        g.cpu.breakpoints.clear()
        assert g.cpu.run(budget=20) == BudgetSpent()


@promise
def breakpoints_are_many_and_in_user_code_too(engine: str) -> None:
    """objects: any number of addresses, at any privilege level."""
    with guest(engine, "90 90 90 90 90 90 90 ebf7") as g:
        enter_user(g)
        for at in range(6):
            g.cpu.breakpoints.add(CODE + at)
        for _ in range(2):
            for at in range(6):
                assert g.cpu.run() == Breakpoint(GVA(CODE + at))
                assert g.cpu.regs.rip == CODE + at


@promise
def a_watchpoint_comes_behind_the_access(engine: str) -> None:
    """objects: a write, a read or either; with the GVA, the size and the direction of the access."""
    cases = (
        *(("write", "8807", True), ("write", "8a07", False), ("read", "8a07", True), ("read", "8807", False)),
        *(("access", "8807", True), ("access", "8a07", True), ("read", "fe07", True), ("write", "fe07", True)),
    )
    for access, code, stops in cases:
        with guest(engine, "90" + code + "90 f4") as g:
            _at_data(g)
            g.cpu.breakpoints.add(DATA, 64, access)  # type: ignore[arg-type]
            if stops:
                wrote = access == "write" or (access == "access" and code == "8807")
                assert g.cpu.run() == Watchpoint(GVA(DATA + 5), 1, wrote)
                assert g.cpu.regs.rip == CODE + 3
            assert g.cpu.run() == Halted()


@promise
def a_watchpoint_sees_accesses_that_only_touch_it(engine: str) -> None:
    """objects: from below, and as one of many; nothing beside it."""
    with guest(engine, "8907 f4") as g:  # mov [bx], ax
        _at_data(g)
        g.cpu.breakpoints.add(DATA + 6, access="write")
        assert g.cpu.run() == Watchpoint(GVA(DATA + 5), 2, True)
    with guest(engine, STORES) as g:
        _at_data(g)
        g.cpu.breakpoints.add(DATA + 0x234, access="write")
        assert g.cpu.run() == Watchpoint(GVA(DATA + 0x234), 1, True)
        assert g.cpu.regs.rip == CODE + 8
        g.cpu.breakpoints.clear()
        assert g.cpu.run(budget=2) == BudgetSpent()
        assert g.cpu.regs.bx == DATA + 0x235


@promise
def a_watchpoint_in_user_code(engine: str) -> None:
    """objects: whatever the privilege level, with paging."""
    with guest(engine, "90 8803 90 8a03 ebf8") as g:  # nop; mov [rbx], al; nop; mov al, [rbx]; jmp
        enter_user(g)
        g.cpu.regs.rbx = DATA
        g.cpu.breakpoints.add(DATA, access="write")
        for _ in range(3):
            assert g.cpu.run() == Watchpoint(GVA(DATA), 1, True)
            assert g.cpu.regs.rip == CODE + 3


@promise
def what_is_watched_runs_as_ever(engine: str) -> None:
    """objects: exits, answers, budgets, deadlines and kicks are the same while points are set."""
    with guest(engine, "e461 fec0 e662 ebfe") as g:  # in al,0x61; inc al; out 0x62,al; jmp $
        g.cpu.breakpoints.add(DATA, access="write")
        assert g.cpu.run() == PortIn(0x61, 1, 1)
        g.cpu.answer(0x41)
        assert g.cpu.run() == PortOut(0x62, 1, 0x42)
        assert g.cpu.run(budget=100) == BudgetSpent()
        moment = g.vm.clock.now_ns + 20_000_000
        assert g.cpu.run(deadline_ns=moment) == DeadlinePassed()
        assert g.vm.clock.now_ns >= moment
        with thread(g.cpu.run) as results:
            time.sleep(0.02)
            g.cpu.kick()
            waiting(lambda: bool(results))
        assert results == [Kicked()]
        g.cpu.kick()
        assert g.cpu.run() == Kicked()
        g.cpu.breakpoints.clear()
        assert g.cpu.run(budget=3) == BudgetSpent()
        assert g.cpu.step() == MonitorTrap()
