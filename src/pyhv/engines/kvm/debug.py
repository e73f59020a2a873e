"""Stopping where it was asked for: single steps, budgets, breakpoints and watchpoints of one vCPU.

KVM steps, and has the processor's four breakpoints. While it is not enough (watched data, a fifth breakpoint, a KVM
that ignores both at CPL 3, or looks late for the interrupt window) the twin runs the guest, on the same memory and at
the software CPU's speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from fcntl import ioctl
from time import monotonic
from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...addresses import GVA
from ...arch.x86_64.vmcs import CpuBased, Vmcs
from ...exits import Breakpoint, BudgetSpent, DeadlinePassed, Exit, Kicked, MonitorTrap, MsrRead, MsrWrite
from . import abi, timer
from .abi import Ioctl
from .registers import RegisterFile
from .state import TSC, read_msr
from .stepping import linear_rip, privilege, twin_begins, twin_steps

if TYPE_CHECKING:
    from .vm import KvmVm, Seat

_MOST_POINTS: Final = 4
_SLICE_NS: Final = 5_000_000  # of the twin: it compares code with memory at its entries, and KVM's vCPUs may write some


class Debugger(RegisterFile):
    """Runs with limits; `KvmVcpu` adds those without."""

    def __init__(self, vm: KvmVm, seat: Seat, twin: _silicon.Cpu) -> None:
        super().__init__(vm, seat, twin)
        self._points: set[int] = set()
        self._watches: set[tuple[int, int, bool, bool]] = set()
        self._guarded = False  # there is some point or watch
        self._alone = False  # the twin runs the guest
        self._kicked = self._in_twin = False
        self._ran_s = 0.0
        twin.unknown_msr_exits(True)  # KVM may have it

    def _go(self, until: int | None) -> Exit:
        raise NotImplementedError

    def _complete(self) -> Exit | None:
        raise NotImplementedError

    # Limits.

    def _limited(self, until: int | None, left: int | None) -> Exit:
        """A run with a budget, or with points."""
        found = self._over_a_point(until, left) if self._points else None
        if isinstance(found, MonitorTrap):  # one is done
            left, found = None if left is None else left - 1, None
        if found is None:
            if self._alone:
                found = self._run_in_twin(until, left)
            else:
                found = self._go(until) if left is None else self._count(until, left)
        self._told = isinstance(found, Breakpoint)
        return found

    def _step(self, until: int | None) -> Exit:
        within = self._is_within()
        found = self._complete()
        if found is not None or within:
            return found or MonitorTrap()  # the instruction was half done, and is the one
        self.pull_all()
        if self._sleeps():
            found = self._run_in_twin(until, 1)
            return MonitorTrap() if isinstance(found, BudgetSpent) else found
        if not self._kicked and self._twin_has_to():
            return self._by_twin() or MonitorTrap()
        self._debug(abi.Debug.ENABLE | abi.Debug.SINGLE_STEP | abi.Debug.BLOCK_IRQ)
        try:
            return self._go(until)
        finally:
            self._arm()

    def _twin_has_to(self) -> bool:
        if self._alone or twin_begins(self.twin) or twin_steps(self.twin, self.vm.memory):
            return True
        return privilege(self.twin) == 3 and not self.vm.steps_user_code()

    def _sleeps(self) -> bool:
        """Whether it was left in another state than active (HLT, say): the twin waits for what ends that."""
        return self.vm.interrupts is None and self.twin.read_vmcs(Vmcs.GUEST_ACTIVITY) != 0

    def _count(self, until: int | None, left: int) -> Exit:
        """Exactly `left` instructions, one by one: KVM has no counter that stops it."""
        while left:
            found = self._step(until)
            if not isinstance(found, MonitorTrap):
                return found
            left -= 1
            if left and self._points and self._on_a_point():
                return Breakpoint(GVA(linear_rip(self.twin)))
        return BudgetSpent()

    def _is_within(self) -> bool:
        """Whether an instruction has begun."""
        return self._twin_waits or (self._pending is not None and not self._pending.posted)

    # Breakpoints and watchpoints. In KVM the processor's own, which the guest's debug registers give way to meanwhile.

    def set_breakpoint(self, gva: int, on: bool) -> None:
        """Stop before the instruction at a linear address, or no longer."""
        self._idle()
        points = self._points - {gva} | ({gva} if on else set())
        self._choose(points, self._watches)
        self.twin.set_breakpoint(gva, on)

    def set_watchpoint(self, gva: int, size_bytes: int, reads: bool, writes: bool, on: bool) -> None:
        """Stop behind an access to data, or no longer."""
        self._idle()
        watch = (gva, size_bytes, reads, writes)
        self._choose(self._points, self._watches - {watch} | ({watch} if on else set()))
        self.twin.set_watchpoint(gva, size_bytes, reads, writes, on)

    def _choose(self, points: set[int], watches: set[tuple[int, int, bool, bool]]) -> None:
        """Who runs the guest from now on."""
        alone = bool(watches) or len(points) > _MOST_POINTS or (bool(points) and not self.vm.steps_user_code())
        alone |= self._wants_window() and not self.vm.sees_windows()
        changed = (points, alone) != (self._points, self._alone)
        self._points, self._watches, self._guarded, self._alone = points, watches, bool(points) or alone, alone
        if changed:
            self._arm()

    def _controls_changed(self) -> None:
        self._choose(self._points, self._watches)

    def _wants_window(self) -> bool:
        """The program does: with interrupt controllers it is theirs, and later does as well."""
        return self.vm.interrupts is None and bool(self.twin.read_vmcs(Vmcs.CPU_BASED) & CpuBased.INTERRUPT_WINDOW)

    def _arm(self) -> None:
        points = [] if self._alone else sorted(self._points)
        self._debug(abi.Debug.ENABLE | abi.Debug.USE_HW_BP if points else abi.Debug(0), points)

    def _debug(self, control: abi.Debug, points: Sequence[int] = ()) -> None:
        addresses = [*points, *[0] * (_MOST_POINTS - len(points))]
        enabled = sum(1 << 2 * n for n in range(len(points)))  # DR7.Ln; kind and length 0: instructions
        ioctl(self.fd, Ioctl.SET_GUEST_DEBUG, abi.GUEST_DEBUG.pack(control, 0, *addresses, 0, 0, 0, enabled))

    def _over_a_point(self, until: int | None, left: int | None) -> Exit | None:
        """At a breakpoint: it is told, or when it was told already the run begins with its instruction."""
        if left == 0 or not self._on_a_point():
            return None
        return self._step(until) if self._told else Breakpoint(GVA(linear_rip(self.twin)))

    def _on_a_point(self) -> bool:
        if self._queued is not None or self._is_within():
            return False
        self.pull_all()
        return linear_rip(self.twin) in self._points

    # The twin.

    def _by_twin(self) -> Exit | None:
        """One instruction in the software CPU."""
        self.touch_all()
        stepped = self.twin.step()
        if isinstance(stepped, Kicked):  # an old one
            stepped = self.twin.step()
        found = self._of_twin(stepped)
        return None if isinstance(found, MonitorTrap) else found

    def _run_in_twin(self, until: int | None, left: int | None) -> Exit:
        """To the next exit, in the software CPU."""
        if self._queued is not None or self._pending is not None:
            left = None if left is None else left - self._is_within()
            first = self._complete()
            if first is not None:
                return first
        self.bring_in()
        while True:
            if self._kicked:
                return self.take_kick()
            now = self.vm.clock.now_ns
            if until is not None and now >= until:
                return DeadlinePassed()
            before = self.twin.instructions
            end = now + _SLICE_NS if until is None else min(until, now + _SLICE_NS)
            found = self._of_twin(self._run_twin(end, left))
            if found is not None and not isinstance(found, DeadlinePassed | Kicked):
                return found
            left = None if left is None else left - (self.twin.instructions - before)

    def bring_in(self) -> None:
        """The twin is to go on with the guest."""
        self.touch_all()
        self.twin.write_msr(TSC, read_msr(self.fd, TSC) or 0)

    def _run_twin(self, until: int, left: int | None) -> Exit:
        before = monotonic()
        self._in_twin = True
        try:
            return Kicked() if self._kicked else self.twin.run(until, left)  # kick() looks the other way round
        finally:
            self._in_twin = False
            self._ran_s += monotonic() - before

    def take_kick(self) -> Kicked:
        """It counts once; the twin may see it again, which is passed over."""
        self._kicked = False
        timer.take()
        return Kicked()

    def _of_twin(self, found: Exit | None) -> Exit | None:
        """What the twin's exit means; None: it was answered here."""
        if isinstance(found, MsrRead | MsrWrite) and self._answers(found):
            found = self.twin.finish()
        self._twin_waits = self._twin_is_within()
        return found

    def _answers(self, found: MsrRead | MsrWrite) -> bool:
        """An MSR that the twin has not: KVM's, or #GP."""
        if self.leaves_for(found.msr):
            return False
        try:
            if isinstance(found, MsrRead):
                self.twin.answer(self.read_own_msr(found.msr))
            else:
                self.write_own_msr(found.msr, found.value)
                self.twin.answer()
        except (KeyError, ValueError):
            self.twin.refuse()
        return True

    def _twin_is_within(self) -> bool:
        return self.twin.unanswered or bool(self.twin.read_unfinished())
