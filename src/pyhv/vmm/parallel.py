"""Several processors at once, each in a thread of its own; the thread that called looks after what acts by itself.

The VM has interrupt controllers (`apic=True`): a processor waits inside `run()`, and devices reach it by lines and
messages. Devices know no threads: one lock is held around every access to them.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress

from pyhv import Exit, VCpu, VirtualMachine

from .answers import device_answers, end_of
from .boards.pc_apic import PcApic
from .console import PumpedSource
from .limits import Limits, PanicSink, WatchingSink
from .outcome import Interrupted, Outcome, Panicked, TextSeen, TimedOut
from .profile import Profile

NS = 1_000_000_000
BUSY_TICK_SECONDS, IDLE_TICK_SECONDS = 0.01, 0.05  # how long output may stay unseen
PANIC_GRACE_SECONDS = 2.0  # for what the kernel still has to say
STOP_SECONDS = 0.05


class ParallelRun:
    """One run of some processors on one board."""

    def __init__(
        self,
        vm: VirtualMachine,
        cpus: Sequence[VCpu],
        board: PcApic,
        limits: Limits,
        source: PumpedSource,
        *,
        watch: WatchingSink | None = None,
        panic: PanicSink | None = None,
        on_slice: Callable[[int | None, float], None] | None = None,
        profile: Profile | None = None,
    ) -> None:
        """`on_slice` is called some 20 times a second, with the seconds so far and 0 instructions."""
        self._vm, self._cpus, self._board, self._limits, self._source = vm, cpus, board, limits, source
        self._watch, self._panic, self._on_slice, self._profile = watch, panic, on_slice, profile
        self._lock = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        self._ended: Outcome | None = None  # by a processor
        self._broken: BaseException | None = None  # an error of our own in a thread
        self._panic_ns: int | None = None
        self._kinds: list[defaultdict[type[Exit], int]] = [defaultdict(int) for _ in cpus]
        self._started_ns = self._now_ns()
        self._end_ns = None if limits.seconds is None else self._started_ns + int(limits.seconds * NS)
        board.on_event = self._ring
        if watch:
            watch.on_seen = self._ring

    @property
    def seconds(self) -> float:
        """Passed on the VM's clock since the start."""
        return (self._now_ns() - self._started_ns) / NS

    @property
    def exits(self) -> dict[str, int]:
        """How often each kind of exit came, most often first."""
        total: defaultdict[str, int] = defaultdict(int)
        for kinds in self._kinds:
            for kind, count in kinds.items():
                total[kind.__name__] += count
        return dict(sorted(total.items(), key=lambda item: -item[1]))

    def to_the_end(self) -> Outcome:
        """Run until the guest, a limit, the user or Ctrl-C ends it. The processors stand still afterwards."""
        threads = [
            threading.Thread(target=self._drive, args=(cpu,), name=f"vcpu-{cpu.index}", daemon=True)
            for cpu in self._cpus
        ]
        outcome: Outcome | None = None
        try:
            for thread in threads:
                thread.start()
            while outcome is None:
                outcome = self._look()
        except KeyboardInterrupt:
            outcome = Interrupted()
        finally:
            self._stop([thread for thread in threads if thread.ident is not None])
            self._board.sink.flush()
            os.close(self._wake)
        if self._broken:
            raise self._broken
        return outcome

    # The thread that called.

    def _look(self) -> Outcome | None:
        """Let time pass for the devices, sleep until something may have happened, and see whether that is the end."""
        now = self._now_ns()
        with self._lock:
            self._board.advance(now)
            self._board.sink.flush()
            next_ns = self._board.next_event_ns()
        outcome = self._outcome(now)
        if outcome:
            return outcome
        tick = BUSY_TICK_SECONDS if self._source.fresh else IDLE_TICK_SECONDS
        moments = [now + int(tick * NS), *(at for at in (next_ns, self._end_ns) if at is not None)]
        self._sleep(max(min(moments) - self._now_ns(), 0) / NS)
        if self._on_slice:
            self._on_slice(0, self.seconds)
        return None

    def _outcome(self, now: int) -> Outcome | None:
        if self._broken:
            return Interrupted()
        if self._panic and self._panic.line and self._panic_ns is None:
            self._panic_ns = now
        board, over = self._board.outcome, self._ended
        found = self._watched() or board or over
        if self._panic and self._panic.line and self._panic_ns is not None:
            late = now - self._panic_ns > PANIC_GRACE_SECONDS * NS
            return Panicked(self._panic.line) if found or late else None
        if found is None and self._source.quit:
            return Interrupted()
        if found is None and self._end_ns is not None and now >= self._end_ns:
            return TimedOut(self._limits.seconds or 0.0)
        return found

    def _watched(self) -> Outcome | None:
        if self._watch and self._watch.seen:
            return TextSeen(self._limits.until.decode("utf-8", "replace") if self._limits.until else "")
        return None

    def _sleep(self, seconds: float) -> None:
        fds = [self._wake, *self._source.fds]
        readable, _, _ = select.select(fds, [], [], seconds)
        if self._wake in readable:
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
        if len(readable) > (self._wake in readable):
            with self._lock:
                self._source.pump()

    def _ring(self) -> None:
        """From any thread: look at once."""
        if not self._stopping:
            os.eventfd_write(self._wake, 1)

    def _stop(self, threads: list[threading.Thread]) -> None:
        self._stopping = True
        for thread, cpu in zip(threads, self._cpus, strict=False):
            while thread.is_alive():
                cpu.kick()
                thread.join(STOP_SECONDS)

    def _now_ns(self) -> int:
        return self._vm.clock.now_ns

    # The processors' threads.

    def _drive(self, cpu: VCpu) -> None:
        """Run one processor until somebody says stop."""
        kinds, answers = self._kinds[cpu.index], device_answers(cpu, self._board)
        run, lock, board = cpu.run, self._lock, self._board
        try:
            while not self._stopping and board.outcome is None:  # a machine that is off executes nothing more
                exit_ = run()
                kind = type(exit_)
                kinds[kind] += 1
                answer = answers.get(kind)
                if answer is None:
                    outcome = end_of(cpu, exit_)
                    if outcome:
                        self._end(outcome)
                elif self._profile:
                    with lock:
                        began = time.perf_counter_ns()
                        answer(exit_)
                        self._profile.note(exit_, time.perf_counter_ns() - began)
                else:
                    with lock:
                        answer(exit_)
        except BaseException as error:
            self._broken = error
            self._ring()

    def _end(self, outcome: Outcome) -> None:
        """A processor has come to the end of the run; it stays where it is, to be looked at."""
        with self._lock:
            if self._ended is None:
                self._ended = outcome
        self._ring()
        while not self._stopping:
            time.sleep(STOP_SECONDS)
