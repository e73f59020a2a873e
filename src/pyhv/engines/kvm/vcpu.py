"""One vCPU: KVM runs it, and the software CPU beside it (`twin`) is its state while it does not run.

What KVM cannot execute (its emulator gives up, code that is not in memory) the twin executes, one instruction at a
time. What KVM cannot intercept is Unsupported.
"""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, suppress
from fcntl import ioctl
from operator import index
from time import monotonic
from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...addresses import GPA
from ...errors import BadArgument, Busy, Closed, Unsupported
from ...exits import (
    BadGuestState,
    DeadlinePassed,
    Exit,
    MmioLoad,
    MmioStore,
    MsrRead,
    MsrWrite,
    PortIn,
    PortOut,
    PortOutMany,
    Unnamed,
)
from . import timer
from .abi import Ioctl, Why
from .debug import Debugger
from .exits import exit_of, not_entered
from .pending import POSTED, Pending
from .timer import HERE

if TYPE_CHECKING:
    from .vm import KvmVm, Seat

_U64: Final = (1 << 64) - 1
_LONG: Final = 100_000_000
_MSR: Final = (MsrRead, MsrWrite)
_RUN: Final = int(Ioctl.RUN)
_BUSY: Final = "the vCPU is running in another thread; kick() it, or wait for its run() to return"


class KvmVcpu(Debugger):
    """One virtual processor on KVM."""

    def __init__(self, vm: KvmVm, seat: Seat, twin: _silicon.Cpu) -> None:
        super().__init__(vm, seat, twin)
        self._free = [True]  # who takes the one item out uses the vCPU: in one step, and cheaper than a lock
        self._home: timer.Thread | None = None  # the one that ran it last
        self._alarm: timer.Alarm | None = None
        self._alarm_for = 0  # when its signal comes, on the VM's clock; 0: it rests, as runs without a deadline need it
        self._lookup, self._clock = vm.memory.table.lookup, vm.silicon_clock
        self._load, self._read = Pending(MmioLoad(GPA(0), 1), seat.run), Pending(PortIn(0, 1), seat.run)
        self._release = weakref.finalize(self, vm.give_back, seat)
        self._release.atexit = False

    # Running.

    def run(self, deadline_ns: int | None = None, budget: int | None = None) -> Exit:
        """To the next exit."""
        if budget is not None or self._guarded:
            return self._run_within(deadline_ns, budget)
        until = deadline_ns
        if until is not None and (type(until) is not int or not 0 <= until <= _U64):
            until = _limit("deadline_ns", until)
        try:
            self._free.pop()
        except IndexError:
            raise Busy(_BUSY) from None
        try:  # the way of most runs, in as few steps as can be: bench/README.md holds it to a bare loop
            pending = self._pending
            if (
                HERE.thread is not self._home
                or (pending is not None and pending.waits)
                or self._kicked
                or self._dirty
                or self._dirty_system
                or self._twin_waits
                or self._queued is not None
            ):
                self._start()
                return self._go(until)
            if until is None and not self._alarm_for:
                return self._enter() or self._on(None)
            return self._on(until)
        finally:
            self._free.append(True)
            if self._closed:
                self._leave()

    def _run_within(self, deadline_ns: int | None, budget: int | None) -> Exit:
        until = None if deadline_ns is None else _limit("deadline_ns", deadline_ns)
        left = None if budget is None else _limit("budget", budget)
        with self._running():
            return self._go(until) if left is None and not self._guarded else self._limited(until, left)

    def step(self) -> Exit:
        """One instruction."""
        with self._running():
            return self._step(None)

    def finish(self) -> Exit | None:
        """Complete the answered instruction; None: done."""
        with self._running():
            return self._complete()

    def run_raw(self, deadline_ns: int | None = None) -> int:
        """Apple's functions have other vCPUs: `RawVcpu`."""
        raise Unsupported("this vCPU has no raw exits; those of Apple's functions have (hv_vcpu_create)")

    def _go(self, until: int | None) -> Exit:
        if self._queued is not None or self._twin_waits:
            first = self._complete()
            if first is not None:
                return first
        return self._on(until)

    def _on(self, until: int | None) -> Exit:
        while True:
            if self._kicked:
                return self.take_kick()
            if self._is_due(until):
                return DeadlinePassed()
            if self._dirty_system and self._sleeps():
                return self._run_in_twin(until, None)
            found = (self._ready() if self._dirty or self._dirty_system else None) or self._enter()
            if found is not None:
                return found

    def _enter(self) -> Exit | None:
        """KVM_RUN, once. None: nobody has to know."""
        self._pending = None  # KVM finishes it first
        before = monotonic()
        try:
            ioctl(self.fd, _RUN, 0)
        except InterruptedError:  # by a signal; Python's own handlers have run
            timer.take()
            self._stale = True
            return None
        except OSError as failed:
            found = not_entered(failed)
        else:
            found = exit_of(self.kvm_run)
        finally:
            self._ran_s += monotonic() - before
            self._stale = self._stale_system = True
        if type(found) is not PortOut:
            return self._meaning(found)
        self._pending = POSTED  # the exit that comes most often goes the shortest way
        return found

    def _meaning(self, found: Exit) -> Exit | None:
        """What the program is to see of an exit; None when the engine has dealt with it."""
        if type(found) is MmioStore:
            self._pending = POSTED
            return None if self._lookup(found.gpa) and self._is_memory(found) else found
        if type(found) is MmioLoad:
            self._pending = self._load.again(found)
            return None if self._lookup(found.gpa) and self._is_memory(found) else found
        if type(found) is PortIn:
            self._pending = self._read.again(found)
            return found
        if type(found) is PortOut or type(found) is PortOutMany:
            self._pending = POSTED
            return found
        if isinstance(found, _MSR):
            self._pending = Pending(found, self.kvm_run)
            return None if self._is_ours(found) else found
        return self._odd(found) if isinstance(found, Unnamed) else found

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
        """An MSR that this vCPU does not leave for: somebody has it, or it is #GP."""
        if self.leaves_for(found.msr):
            return False
        pending = self._pending_exit()
        try:
            if isinstance(found, MsrRead):
                pending.answer(self.read_own_msr(found.msr))
            else:
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
        self._take()
        try:
            self._start()
        except BaseException:
            self.end()
            raise

    def _take(self) -> None:
        try:
            self._free.pop()
        except IndexError:
            raise Busy(_BUSY) from None

    def end(self) -> None:
        """And no longer."""
        self._free.append(True)
        if self._closed:
            self._leave()

    def _start(self) -> None:
        """The thread that has taken it may run it, and what ends a run reaches this thread."""
        self._require_open()
        if self.unanswered:
            raise BadArgument(
                "the last exit waits for an answer: call answer(value) (or refuse() for an MSR) before running on"
            )
        here = HERE.thread
        if here is not self._home:
            self._move_in(here)

    def _move_in(self, here: timer.Thread) -> None:
        timer.let_through(self.fd)
        if self._alarm is not None:
            self._alarm.close()
        self._alarm, self._home = timer.Alarm(), here
        self._alarm_for = 1  # a moment that has passed: it is to be set

    def _is_due(self, until: int | None) -> bool:
        """Whether the deadline has come. If not, the signal comes when it has, and soon enough for Ctrl-C."""
        if until is None:
            if self._alarm_for and self._alarm is not None and self._home is not None:
                # No run without a deadline sets anything.
                self._alarm.every(timer.SLICE_NS if self._home.is_main else 0)
                self._alarm_for = 0
            return False
        now = self._clock.now_ns
        if now >= until:
            return True
        if not now < self._alarm_for <= until:
            self._alarm_by(now, until)
        return False

    def _alarm_by(self, now: int, due: int) -> None:
        """Let it come at `due` or earlier: the run looks again then."""
        home = self._home
        due = min(due, now + (timer.SLICE_NS if home is not None and home.is_main else _LONG))
        if now < self._alarm_for <= due or self._alarm is None:
            return
        self._alarm.once(due - now)
        self._alarm_for = due

    def kick(self) -> None:
        """From any thread; counts for the next run if none is on."""
        self._require_open()
        self._kicked = True
        self._signal()

    def _signal(self) -> bool:
        """Make a run in progress look up; False: there is none.

        One that begins meanwhile looks at `_kicked` after it took the vCPU.
        """
        home = self._home
        if self._free:
            return False
        if self._in_twin:
            self.twin.kick()
        if home is not None:
            home.signal()
        return True

    def close(self, why: str, kick: bool = True) -> None:
        """Every later use raises Closed."""
        if self._closed:
            return
        self._closed = why
        self._kicked = True
        if not kick:  # after fork(): what is left is the parent's
            return
        if self._signal():
            return
        with suppress(Busy):
            self._take()
            self.end()

    def _leave(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.close()
        self._release()

    @property
    def running(self) -> bool:
        """Whether some thread is in `run()`."""
        return not self._free

    def _idle(self) -> None:
        self._require_open()
        if not self._free and HERE.thread is not self._home:
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
        pending = self._pending
        if pending is None or not pending.waits or self._twin_waits or self._queued or self._closed or not self._free:
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
        return int(self._ran_s * 1e9)


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
