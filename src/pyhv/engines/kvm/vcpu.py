"""One vCPU: KVM runs it, and the software CPU beside it (`twin`) is its state while it does not run.

What KVM cannot execute (its emulator gives up, code that is not in memory) the twin executes, one instruction at a
time. What KVM cannot intercept is Unsupported.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import AbstractContextManager
from fcntl import ioctl
from operator import index
from struct import unpack_from
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...errors import BadArgument, Busy, Closed, HvError, Unsupported
from ...exits import (
    BadGuestState,
    DeadlinePassed,
    Exit,
    MmioLoad,
    MmioStore,
    MsrRead,
    MsrWrite,
    PortOut,
    PortOutMany,
    Unnamed,
)
from . import abi, timer
from .abi import Ioctl, Why
from .debug import Debugger
from .exits import exit_of
from .pending import POSTED, Pending

if TYPE_CHECKING:
    from .vm import KvmVm, Seat

_U64: Final = (1 << 64) - 1
_SLICE_NS: Final = 20_000_000  # how long a run on the main thread may keep Ctrl-C waiting
_LONG: Final = 100_000_000
_MOST_POINTS: Final = 4
_POSTED_KINDS: Final = frozenset({PortOut, PortOutMany})
_RUN: Final = int(Ioctl.RUN)
_IO: Final = int(Why.IO)


class KvmVcpu(Debugger):
    """One virtual processor on KVM."""

    def __init__(self, vm: KvmVm, seat: Seat, twin: _silicon.Cpu) -> None:
        super().__init__(vm, seat, twin)
        self._in_use = threading.Lock()
        self._thread = self._home = 0
        self._alarm: timer.Alarm | None = None
        self._alarm_at = 0
        self._on_main = False
        self._release = weakref.finalize(self, vm.give_back, seat)
        self._release.atexit = False

    # Running.

    def run(self, deadline_ns: int | None = None, budget: int | None = None) -> Exit:
        """To the next exit."""
        until = None if deadline_ns is None else _limit("deadline_ns", deadline_ns)
        left = None if budget is None else _limit("budget", budget)
        self.begin()
        try:
            return self._go(until) if left is None and not self._guarded else self._limited(until, left)
        finally:
            self.end()

    def step(self) -> Exit:
        """One instruction."""
        with self._running():
            return self._step(None)

    def finish(self) -> Exit | None:
        """Complete the answered instruction; None: done."""
        with self._running():
            return self._complete()

    def run_raw(self, deadline_ns: int | None = None) -> int:
        """Not on KVM."""
        raise Unsupported("the kvm engine has no raw exits; the soft engine does")

    def _go(self, until: int | None) -> Exit:
        if self._queued is not None or self._twin_waits:
            first = self._complete()
            if first is not None:
                return first
        while True:
            if self._kicked:
                return self.take_kick()
            if until is not None and self.vm.clock.now_ns >= until:
                return DeadlinePassed()
            self._set_alarm(until)
            found = (self._ready() if self._dirty or self._dirty_system else None) or self._enter()
            if found is not None:
                return found

    def _enter(self) -> Exit | None:
        """KVM_RUN, once. None: nobody has to know."""
        self._pending = None  # KVM finishes it first
        before = monotonic_ns()
        try:
            ioctl(self.fd, _RUN, 0)
        except InterruptedError:  # by a signal; Python's own handlers have run
            timer.take()
            self._stale = True
            return None
        except OSError as failed:
            raise HvError(f"KVM_RUN failed: {failed}") from None
        finally:
            self._ran_ns += monotonic_ns() - before
            self._stale = self._stale_system = True
        found = exit_of(self.kvm_run)
        if type(found) in _POSTED_KINDS:  # the exit that comes most often goes the shortest way
            self._pending = POSTED
            return found
        return self._meaning(found)

    def _meaning(self, found: Exit) -> Exit | None:
        """What the program is to see of an exit; None when the engine has dealt with it."""
        if isinstance(found, MmioLoad | MmioStore):
            self._pending = Pending(found, self.kvm_run)
            return None if self._is_memory(found) else found
        if isinstance(found, MsrRead | MsrWrite):
            self._pending = Pending(found, self.kvm_run)
            return None if self._is_ours(found) else found
        if isinstance(found, Unnamed):
            return self._odd(found)
        if unpack_from("<I", self.kvm_run, abi.REASON_AT)[0] == _IO:
            self._pending = Pending(found, self.kvm_run)
        return found

    def _is_memory(self, found: MmioLoad | MmioStore) -> bool:
        """Memory whose rights have no slot, or whose slot was just being changed: done here."""
        memory = self.vm.memory
        if isinstance(found, MmioStore):
            return memory.store(found.gpa, found.value.to_bytes(found.size_bytes, "little"))
        data = memory.load(found.gpa, found.size_bytes)
        if data is None:
            return False
        self._pending_exit().answer(int.from_bytes(data, "little"))
        return True

    def _is_ours(self, found: MsrRead | MsrWrite) -> bool:
        """An MSR that this vCPU does not leave for: the twin has it, or it is #GP."""
        pending, twin = self._pending_exit(), self.twin
        filtered = pending.msr_reason == abi.MSR_FILTERED
        if found.msr in self._exiting_msrs or (self._unknown_exits and not filtered and not self._has_msr(found.msr)):
            return False
        try:
            if isinstance(found, MsrRead):
                pending.answer(self.read_own_msr(found.msr))
            else:
                twin.read_msr(found.msr)
                self.write_own_msr(found.msr, found.value)
                pending.answer(None)
        except (KeyError, ValueError):
            pending.refuse()
        return True

    def _odd(self, found: Unnamed) -> Exit | None:
        reason = found.raw["kvm_exit_reason"]
        if reason == Why.FAIL_ENTRY:
            return BadGuestState(f"the processor refuses to enter the guest, reason {found.raw['detail']:#x}")
        if reason == Why.INTR:
            return None
        if reason != Why.INTERNAL_ERROR:
            return found
        self.pull_all()
        problem = self.twin.state_problem()
        if problem:
            return BadGuestState(problem)
        return self._by_twin()

    def _complete(self) -> Exit | None:
        """Finish the instruction that has begun: a posted one, or one that was answered."""
        if self._queued is not None:
            queued, self._queued = self._queued, None
            return queued
        if self._twin_waits:
            found = self.twin.finish()
            self._twin_waits = self._twin_is_within()
            return found
        return self.settle()

    # Threads.

    def _running(self) -> AbstractContextManager[None]:
        return _Use(self)

    def begin(self) -> None:
        """This thread uses it now."""
        self._require_open()
        if not self._in_use.acquire(blocking=False):
            raise Busy("the vCPU is running in another thread; kick() it, or wait for its run() to return")
        me = threading.get_ident()
        self._thread = me
        if self.unanswered or self._closed:
            self.end()
            self._require_open()
            raise BadArgument(
                "the last exit waits for an answer: call answer(value) (or refuse() for an MSR) before running on"
            )
        if me != self._home:
            self._move_in(me)

    def end(self) -> None:
        """And no longer."""
        with self._guard:
            self._thread = 0
        self._in_use.release()
        if self._closed:
            self._leave()

    def _move_in(self, thread: int) -> None:
        timer.let_through(self.fd)
        if self._alarm is not None:
            self._alarm.close()
        self._alarm = timer.Alarm()
        self._alarm_at, self._home = 0, thread
        self._on_main = thread == threading.main_thread().ident

    def _set_alarm(self, until: int | None) -> None:
        """Let the signal come when the deadline is there, and on the main thread soon enough for Ctrl-C."""
        main = self._on_main
        if until is None and not main:
            return
        now = monotonic_ns()
        if until is None and now < self._alarm_at:
            return
        after = _SLICE_NS if main else _LONG
        if until is not None:
            after = min(after, until - self.vm.clock.now_ns)
        if self._alarm is not None:
            self._alarm.set(after)
        self._alarm_at = now + after

    def kick(self) -> None:
        """From any thread; counts for the next run if none is on."""
        self._require_open()
        self._kicked = True
        with self._guard:
            if self._in_twin:
                self.twin.kick()
            elif self._thread:
                timer.send(self._thread)

    def close(self, why: str, kick: bool = True) -> None:
        """Every later use raises Closed."""
        if self._closed:
            return
        self._closed = why
        if not kick:  # after fork(): what is left is the parent's
            return
        self._kicked = True
        with self._guard:
            if self._in_twin:
                self.twin.kick()
            if self._thread:
                timer.send(self._thread)
                return
        if self._in_use.acquire(blocking=False):
            self._in_use.release()
            self._leave()

    def _leave(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.close()
        self._release()

    @property
    def running(self) -> bool:
        """Whether some thread is in `run()`."""
        return self._in_use.locked()

    def _idle(self) -> None:
        self._require_open()
        if self._in_use.locked() and self._thread != threading.get_ident():
            raise Busy("the vCPU is running in another thread; only kick() may be called now")

    def _require_open(self) -> None:
        if self._closed:
            raise Closed(self._closed)

    # Answers.

    @property
    def unanswered(self) -> bool:
        """Whether the last exit waits for its value."""
        if self._twin_waits:
            return self.twin.unanswered
        return self._queued is None and self._pending is not None and self._pending.waits

    def answer(self, value: int | bytes | None = None) -> None:
        """Give the last exit its value."""
        self._idle()
        if self._twin_waits:
            self.twin.answer(value)
            return
        pending = self._require_pending("answer")
        rest = pending.answer(value)
        if rest is not None:
            self._queued = rest

    def refuse(self) -> None:
        """#GP(0) for the MSR access that waits."""
        self._idle()
        if self._twin_waits:
            self.twin.refuse()
        else:
            self._require_pending("refuse").refuse()

    def _require_pending(self, what: str) -> Pending:
        pending = self._pending
        if pending is None or not pending.waits or self._queued is not None:
            raise BadArgument(f"{what}: no exit waits for an answer")
        return pending

    @property
    def instructions(self) -> int:
        """Not counted by KVM."""
        raise Unsupported("KVM does not count instructions; the soft engine does")

    @property
    def exec_time_ns(self) -> int:
        """Nanoseconds in KVM_RUN."""
        return self._ran_ns


class _Use:
    """While it lives the vCPU is this thread's."""

    __slots__ = ("_vcpu",)

    def __init__(self, vcpu: KvmVcpu) -> None:
        self._vcpu = vcpu

    def __enter__(self) -> None:
        self._vcpu.begin()

    def __exit__(self, *_: object) -> None:
        self._vcpu.end()


def _limit(name: str, value: int) -> int:
    number = index(value)
    if not 0 <= number <= _U64:
        raise BadArgument(f"{name} takes 0 to 2**64 - 1, or None for no limit, not {number}")
    return number
