"""Promises of the objects: how a run ends."""

from __future__ import annotations

import signal
import threading
import time

from .. import BudgetSpent, DeadlinePassed, Halted, Kicked, MonitorTrap, PortOut, VirtualMachine
from ..errors import BadArgument, Busy
from ._promise import promise
from .guest import CODE, guest, raises, thread, waiting

FOREVER = "ebfe"  # jmp $


@promise
def a_kick_before_the_run_counts(engine: str) -> None:
    """3.3: a kick sent while the vCPU does not run makes the next run return at once, with no guest progress."""
    with guest(engine, "90 f4") as g:
        g.cpu.kick()
        g.cpu.kick()
        assert g.cpu.run() == Kicked()
        assert g.cpu.regs.rip == CODE
        assert g.cpu.run() == Halted()


@promise
def a_kick_from_another_thread_ends_a_run(engine: str) -> None:
    """3.3: a running vCPU exits; several kicks before that exit are one."""
    with guest(engine, FOREVER) as g, thread(g.cpu.run) as results:
        waiting(lambda: g.cpu.running)
        g.cpu.kick()
        waiting(lambda: bool(results))
        assert results == [Kicked()]
        assert g.cpu.regs.rip == CODE
        assert g.cpu.run(budget=3) == BudgetSpent()


@promise
def a_barrage_of_kicks_is_never_lost(engine: str) -> None:
    """3.3: each kick is soon followed by an exit, whenever it comes."""
    with guest(engine, FOREVER) as g:
        seen = 0

        def work() -> None:
            nonlocal seen
            while seen < 50:
                assert g.cpu.run() == Kicked()
                seen += 1

        with thread(work):
            for round_ in range(50):
                g.cpu.kick()
                waiting(lambda round_=round_: seen > round_)  # type: ignore[misc]


@promise
def a_deadline_ends_a_run(engine: str) -> None:
    """3.2: the run ends when the moment has come, not before, and the vCPU can go on."""
    with guest(engine, FOREVER) as g:
        moment = g.vm.clock.now_ns + 20_000_000
        assert g.cpu.run(deadline_ns=moment) == DeadlinePassed()
        late = g.vm.clock.now_ns - moment
        assert 0 <= late < 2_000_000_000, f"{late} ns late"
        assert g.cpu.run(budget=3) == BudgetSpent()


@promise
def a_deadline_that_has_passed_returns_at_once(engine: str) -> None:
    """3.2: a passed deadline returns promptly, possibly with no guest progress."""
    with guest(engine, FOREVER) as g:
        start = time.monotonic()
        assert g.cpu.run(deadline_ns=0) == DeadlinePassed()
        assert time.monotonic() - start < 1


@promise
def a_budget_is_exact(engine: str) -> None:
    """objects: run(budget=N) executes N instructions; the count says so."""
    with guest(engine, "90" * 100 + "f4") as g:
        before = g.cpu.instructions
        assert g.cpu.run(budget=37) == BudgetSpent()
        assert g.cpu.regs.rip == CODE + 37
        assert g.cpu.instructions - before == 37
        assert g.cpu.run(budget=63) == BudgetSpent()
        assert g.cpu.run(budget=1) == Halted()


@promise
def limits_that_cannot_be_are_refused(engine: str) -> None:
    """objects: a negative or too big limit is BadArgument by name, what is no number TypeError; nothing has run."""
    with guest(engine, "90 f4") as g:
        for name in ("budget", "deadline_ns"):
            raises(BadArgument, lambda name=name: g.cpu.run(**{name: -1}), name, "-1")  # type: ignore[misc]
            raises(BadArgument, lambda name=name: g.cpu.run(**{name: 1 << 64}), name)  # type: ignore[misc]
            raises(TypeError, lambda name=name: g.cpu.run(**{name: "1"}))  # type: ignore[misc, arg-type]
        assert g.cpu.regs.rip == CODE
        assert g.cpu.run() == Halted()


@promise
def an_iteration_of_rep_counts_one(engine: str) -> None:
    """objects: a budget ends a REP between two iterations, and the rest follows."""
    with guest(engine, "b80041 b96400 bf0030 f3aa f4") as g:
        assert g.cpu.run(budget=3 + 40) == BudgetSpent()
        assert (g.cpu.regs.cx, g.cpu.regs.di, g.cpu.regs.rip) == (60, 0x3028, CODE + 9)
        assert g.cpu.run() == Halted()
        assert (g.cpu.regs.cx, g.cpu.regs.di) == (0, 0x3064)


@promise
def step_executes_one_instruction(engine: str) -> None:
    """objects: step() is MonitorTrap after one instruction, or the exit of that instruction."""
    with guest(engine, "40 baf803 ee f4") as g:
        assert g.cpu.step() == MonitorTrap()
        assert (g.cpu.regs.rip, g.cpu.regs.ax) == (CODE + 1, 1)
        assert g.cpu.step() == MonitorTrap()
        assert g.cpu.step() == PortOut(0x3F8, 1, 1)
        assert g.cpu.step() == Halted()


@promise
def a_second_thread_gets_busy(engine: str) -> None:
    """objects: while a vCPU runs in one thread, running it or touching its state from another is Busy."""
    with guest(engine, FOREVER) as g:
        with thread(g.cpu.run):
            waiting(lambda: g.cpu.running)
            raises(Busy, g.cpu.run)
            raises(Busy, lambda: g.cpu.regs.rax)
            raises(Busy, lambda: setattr(g.cpu.regs, "rax", 1))
            raises(Busy, lambda: g.cpu.segments.cs.base)
            raises(Busy, lambda: g.cpu.state)
            raises(Busy, g.cpu.close, "vCPU 0")
            g.cpu.kick()
        assert g.cpu.regs.rax == 0


@promise
def vcpus_run_in_parallel_threads(engine: str) -> None:
    """objects: each vCPU of a VM runs in a thread of its own, the interpreter lock released meanwhile."""
    with VirtualMachine(engine) as vm:
        ram = vm.map(at=0, size=0x1_0000)
        # lock inc word [0x3000] a thousand times: 1000 each, none lost
        ram[CODE : CODE + 12] = bytes.fromhex("b9e803 f0ff060030 e2f9 f4 90".replace(" ", ""))

        def work() -> object:
            with vm.vcpu() as cpu:
                cpu.regs.rip = CODE
                return cpu.run()

        with thread(work) as one, thread(work) as two:
            pass
        assert one + two == [Halted(), Halted()]
        assert int.from_bytes(vm.read(0x3000, 2), "little") == 2000


@promise
def ctrl_c_ends_a_run_of_the_main_thread(engine: str) -> None:
    """objects: a signal handler runs during run(); what it raises ends the run at an instruction boundary."""
    if threading.current_thread() is not threading.main_thread():
        return

    class Interrupted(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Interrupted

    with guest(engine, "40 ebfd") as g:
        before = signal.signal(signal.SIGALRM, handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            raises(Interrupted, g.cpu.run)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert g.cpu.regs.rip in (CODE, CODE + 1)
        assert g.cpu.run(budget=2) == BudgetSpent()


@promise
def counted_time_repeats_exactly(engine: str) -> None:
    """objects: with ns_per_instruction time is counted in instructions; two runs agree to the nanosecond."""

    def once() -> tuple[object, int, int]:
        with VirtualMachine(engine, ns_per_instruction=2.0) as vm:
            vm.map(at=0, size=0x2000)[CODE : CODE + 3] = b"\x40\xeb\xfd"  # inc ax; jmp
            with vm.vcpu() as cpu:
                cpu.regs.rip = CODE
                exit_ = cpu.run(deadline_ns=10_000)
                return exit_, vm.clock.now_ns, cpu.regs.rax

    first = once()
    assert first[0] == DeadlinePassed()
    assert 10_000 <= first[1] <= 10_010
    assert once() == first
