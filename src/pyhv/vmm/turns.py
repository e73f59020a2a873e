"""Processors in turns on one thread, for a VM whose time is counted in instructions: a run repeats exactly.

Nothing from outside comes in between: what is typed was there before, and a limit is a number of instructions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pyhv import Exit, VCpu, VirtualMachine

from .answers import device_answers, end_of
from .boards.pc_apic import PcApic
from .limits import Limits, PanicSink, WatchingSink
from .outcome import Interrupted, LimitReached, Outcome, Panicked, TextSeen, TimedOut

NS = 1_000_000_000
TURN_INSTRUCTIONS = 100_000  # of one processor, while there are others


class TurnsRun:
    """One run of some processors on one board, on the calling thread."""

    def __init__(
        self,
        vm: VirtualMachine,
        cpus: Sequence[VCpu],
        board: PcApic,
        limits: Limits,
        *,
        watch: WatchingSink | None = None,
        panic: PanicSink | None = None,
    ) -> None:
        self._vm, self._cpus, self._board, self._limits = vm, cpus, board, limits
        self._watch, self._panic = watch, panic
        self._answers = [device_answers(cpu, board) for cpu in cpus]
        self._kinds: defaultdict[str, int] = defaultdict(int)
        self._started_ns = vm.clock.now_ns
        self._end_ns = None if limits.seconds is None else self._started_ns + int(limits.seconds * NS)

    @property
    def seconds(self) -> float:
        """Passed on the VM's clock since the start."""
        return (self._vm.clock.now_ns - self._started_ns) / NS

    @property
    def instructions(self) -> int:
        """Executed by all processors."""
        return sum(cpu.instructions for cpu in self._cpus)

    @property
    def exits(self) -> dict[str, int]:
        """How often each kind of exit came, most often first."""
        return dict(sorted(self._kinds.items(), key=lambda item: -item[1]))

    def to_the_end(self) -> Outcome:
        """Run until the guest or a limit ends it, or Ctrl-C."""
        outcome: Outcome | None = None
        try:
            while outcome is None:
                for cpu in self._cpus:
                    outcome = self._turn(cpu)
                    if outcome:
                        break
        except KeyboardInterrupt:
            outcome = Interrupted()
        finally:
            self._board.sink.flush()
        return outcome

    def _turn(self, cpu: VCpu) -> Outcome | None:
        """Let one processor go on to its next exit, a device's moment, or the end of its turn."""
        left = None if self._limits.instructions is None else self._limits.instructions - self.instructions
        if left is not None and left <= 0:
            return LimitReached(self.instructions)
        moments = [at for at in (self._board.next_event_ns(), self._end_ns) if at is not None]
        budgets = [n for n in (left, TURN_INSTRUCTIONS if len(self._cpus) > 1 else None) if n is not None]
        exit_ = cpu.run(min(moments, default=None), min(budgets, default=None))
        self._kinds[type(exit_).__name__] += 1
        outcome = self._answer(cpu, exit_)
        now = self._vm.clock.now_ns
        self._board.advance(now)
        return outcome or self._ended(now)

    def _answer(self, cpu: VCpu, exit_: Exit) -> Outcome | None:
        answer = self._answers[cpu.index].get(type(exit_))
        if answer is None:
            return end_of(cpu, exit_)
        answer(exit_)
        return None

    def _ended(self, now: int) -> Outcome | None:
        if self._watch and self._watch.seen:
            return TextSeen(self._limits.until.decode("utf-8", "replace") if self._limits.until else "")
        if self._board.outcome and self._panic and self._panic.line:
            return Panicked(self._panic.line)
        if self._board.outcome is None and self._end_ns is not None and now >= self._end_ns:
            return TimedOut(self._limits.seconds or 0.0)
        return self._board.outcome
