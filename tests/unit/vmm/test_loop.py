"""The loop on a processor that only plays back exits: what it answers, when it interrupts, how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import pyhv
from pyhv.vmm.boards.pc import Pc
from pyhv.vmm.console import BytesSource, Capture, NoInput
from pyhv.vmm.limits import Limits, WatchingSink
from pyhv.vmm.loop import Run
from pyhv.vmm.outcome import (
    GuestDied,
    GuestExited,
    HaltedForever,
    Interrupted,
    LimitReached,
    NotCarried,
    Outcome,
    ResetAsked,
    TextSeen,
    TimedOut,
)

Play = pyhv.Exit | Callable[["Player"], pyhv.Exit] | BaseException


class Player:
    """A vCPU that says what it was told to; time passes by a millisecond an exit."""

    def __init__(self, exits: list[Play]) -> None:
        self._exits: Iterator[Play] = iter(exits)
        self.now_ns = 0
        self.instructions = 0
        self.answers: list[object] = []
        self.injected: list[int] = []
        self.refused = 0
        self.deadlines: list[int] = []
        self.interruptible = True
        self.controls = SimpleNamespace(interrupt_window=False)
        self.regs = SimpleNamespace(rflags=SimpleNamespace(if_=True), rip=0, cr0=SimpleNamespace(pe=True))

    def run(self, deadline_ns: int, budget: int | None = None) -> pyhv.Exit:
        self.now_ns += 1_000_000
        self.instructions += 10 if budget is None else min(budget, 10)
        self.deadlines.append(deadline_ns)
        play = next(self._exits)
        if isinstance(play, BaseException):
            raise play
        return play(self) if callable(play) else play

    def answer(self, value: object = None) -> None:
        self.answers.append(value)

    def read_vmcs(self, field: int) -> int:
        return 0

    def refuse(self) -> None:
        self.refused += 1

    def inject(self, vector: int) -> None:
        self.injected.append(vector)


class Sleepy(NoInput):
    """Waiting lets the player's time pass instead of ours."""

    def __init__(self) -> None:
        self.player: Player | None = None
        self.slept = 0.0

    def wait(self, seconds: float) -> bool:
        assert self.player is not None
        self.player.now_ns += int(seconds * 1e9) + 1
        self.slept += seconds
        return False


def play(*exits: Play, **limits: Any) -> tuple[Outcome, Player, Capture, Run]:
    player, sink = Player(list(exits)), Capture()
    source = Sleepy()
    source.player = player
    vm: Any = SimpleNamespace(clock=_Clock(player))
    watch = WatchingSink(sink, limits["until"]) if "until" in limits else None
    board = Pc(16 << 20, lambda: player.now_ns, watch or sink, source)
    run = Run(vm, player, board, Limits(**limits), watch=watch)  # type: ignore[arg-type]
    return run.to_the_end(), player, sink, run


class _Clock:
    def __init__(self, player: Player) -> None:
        self._player = player

    @property
    def now_ns(self) -> int:
        return self._player.now_ns


END = pyhv.PortOut(0xF4, 1, 3)
ENDED = GuestExited(3, "port 0xf4")


def out(port: int, *values: int) -> list[pyhv.Exit]:
    return [pyhv.PortOut(port, 1, value) for value in values]


TIMER_ON = [*out(0x20, 0x11), *out(0x21, 32, 4, 1, 0xFE), *out(0x43, 0x34), *out(0x40, 0, 0x10)]


def test_port_writes_reach_devices_and_the_exit_port_ends_the_run() -> None:
    outcome, _, sink, run = play(*out(0x3F8, 0x68, 0x69), END)
    assert (outcome, sink.data) == (ENDED, b"hi")
    assert run.exits == {"PortOut": 3}


def test_rep_outs_writes_every_item() -> None:
    _, _, sink, _ = play(pyhv.PortOutMany(0xE9, 1, b"abc"), pyhv.PortOutMany(0x9000, 2, b"abcd"), END)
    assert sink.data == b"abc"


def test_reads_are_answered_from_the_buses() -> None:
    _, player, _, _ = play(
        pyhv.PortIn(0x402, 1),
        pyhv.PortIn(0xCFC, 4),
        pyhv.PortIn(0xE9, 1, 3),
        pyhv.PortIn(0x9000, 2, 2),
        pyhv.MmioLoad(pyhv.GPA(0xFEE00020), 4),
        END,
    )
    assert player.answers == [0xE9, 0xFFFFFFFF, b"\xe9\xe9\xe9", b"\xff\xff\xff\xff", 0xFFFFFFFF]


def test_a_timer_interrupt_waits_for_the_window() -> None:
    def late(player: Player) -> pyhv.Exit:
        player.now_ns += 10_000_000
        return pyhv.DeadlinePassed()

    def window(player: Player) -> pyhv.Exit:
        assert player.controls.interrupt_window
        player.interruptible = True
        return pyhv.InterruptWindow()

    def blocked(player: Player) -> pyhv.Exit:
        player.interruptible = False
        return late(player)

    outcome, player, _, _ = play(*TIMER_ON, blocked, window, END)
    assert (outcome, player.injected) == (ENDED, [32])
    assert not player.controls.interrupt_window


def test_the_deadline_is_the_timer_s_next_edge() -> None:
    _, player, _, _ = play(*TIMER_ON, pyhv.PortOut(0x80, 1, 0), END)
    edge = 0x1000 * 1_000_000_000 // 1_193_182
    assert player.deadlines[-1] < player.now_ns + edge + 1


def test_hlt_waits_for_the_timer() -> None:
    outcome, player, _, _ = play(*TIMER_ON, pyhv.Halted(), END)
    assert (outcome, player.injected) == (ENDED, [32])


def test_hlt_without_anything_to_wait_for() -> None:
    outcome, *_ = play(pyhv.Halted())
    assert isinstance(outcome, HaltedForever)
    assert "no device could interrupt" in outcome.why


def test_hlt_with_interrupts_off() -> None:
    def halt(player: Player) -> pyhv.Exit:
        player.regs.rflags.if_ = False
        return pyhv.Halted()

    outcome, *_ = play(*TIMER_ON, halt)
    assert isinstance(outcome, HaltedForever)
    assert "RFLAGS.IF = 0" in outcome.why


def test_the_time_ends_a_run_and_a_sleep() -> None:
    def late(player: Player) -> pyhv.Exit:
        player.now_ns += 2_000_000_000
        return pyhv.DeadlinePassed()

    assert play(pyhv.DeadlinePassed(), late, seconds=1.0)[0] == TimedOut(1.0)
    slow = [*TIMER_ON[:-2], *out(0x40, 0, 0)]  # 55 ms a tick
    assert play(*slow, pyhv.Halted(), seconds=0.03)[0] == TimedOut(0.03)


def test_the_budget_counts_what_ran_before() -> None:
    outcome, player, _, _ = play(*out(0x80, 1, 2), pyhv.BudgetSpent(), instructions=25)
    assert outcome == LimitReached(25)
    assert player.instructions == 25


@pytest.mark.parametrize(
    ("exit_", "kind", "said"),
    [
        (pyhv.BadGuestState("CR0 says no"), GuestDied, "CR0 says no"),
        (pyhv.Hypercall(), NotCarried, "VMCALL"),
        (pyhv.MsrRead(0x1234), NotCarried, "MSR 0x1234"),
        (pyhv.Cpuid(0, 0), NotCarried, "nobody asked for"),
        (pyhv.Unnamed({"reason": 99}), NotCarried, "99"),
        (pyhv.Exception(6, None, None), NotCarried, "exception 6"),
    ],
)
def test_rare_exits_end_the_run_and_say_why(exit_: pyhv.Exit, kind: type, said: str) -> None:
    outcome, *_ = play(exit_)
    assert isinstance(outcome, kind)
    assert said in str(outcome)


def test_ctrl_c_and_kicks() -> None:
    assert play(KeyboardInterrupt())[0] == Interrupted()
    assert play(pyhv.Kicked())[0] == Interrupted()


def test_resets_and_watched_text() -> None:
    assert play(*out(0xCF9, 6))[0] == ResetAsked("reset control, port 0xCF9")
    assert play(*out(0x3F8, 0x6F, 0x6B), until=b"ok")[0] == TextSeen("ok")


def test_com1_input_interrupts() -> None:
    player, sink = Player([]), Capture()
    board = Pc(16 << 20, lambda: 0, sink, BytesSource(b"x"))
    for port, values in ((0x20, [0x11]), (0x21, [32, 4, 1, 0xEF]), (0x3FC, [8]), (0x3F9, [1])):
        for value in values:
            board.ports.write(port, 1, value)
    assert board.interrupt_pending
    assert board.acknowledge() == 36
    assert player.injected == []


def test_the_board_s_addresses_are_free_of_each_other() -> None:
    board = Pc(5 << 30, lambda: 0, Capture(), NoInput())
    assert board.ports.read(0xCF8, 4) == 0xFFFFFFFF
    board.ports.write(0x70, 1, 0x5B)
    low = board.ports.read(0x71, 1)
    board.ports.write(0x70, 1, 0x5C)
    assert low | board.ports.read(0x71, 1) << 8 == (2 << 30) >> 16
