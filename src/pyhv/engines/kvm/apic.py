"""A vCPU of a VM with interrupt controllers: KVM executes, the twin on the software CPU is its local APIC.

What the interrupt controllers have for the guest goes to KVM by KVM_INTERRUPT and KVM_NMI. HLT and waiting for a
start-up message wait in the twin. Whoever has something for a vCPU that executes (another vCPU, a device, its timer)
sends its thread the signal that ends KVM_RUN.
"""

from __future__ import annotations

from fcntl import ioctl
from struct import pack
from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...arch.x86_64.registers import Reg
from ...arch.x86_64.vmcs import Vmcs
from ...exits import BudgetSpent, DeadlinePassed, Exit, Kicked, MonitorTrap, Unnamed
from . import abi, timer
from .abi import Ioctl, Why
from .controllers import APIC_BASE, Controllers

if TYPE_CHECKING:
    from .vm import KvmVm, Seat

# silicon/x86_64/outside.h.
_INTERRUPT, _WINDOW, _NMI, _MESSAGE, _WAIT = 1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12
_TAKES_NMI, _TAKES_ALL = 2, 3
_READY_AT, _IF_AT, _CR8_AT = abi.READY_FOR_INTERRUPT_AT, abi.IF_AT, abi.CR8_AT
_NEVER: Final = (1 << 64) - 1

_LONG_NS: Final = 1_000_000_000
_FEW: Final = 1000  # instructions
_IF: Final = 1 << 9
_BY_STI_OR_MOV_SS: Final = 3
_EVENT_WAITS: Final = 1 << 31


class ApicVcpu(Controllers):
    """One virtual processor with a local APIC."""

    def __init__(self, vm: KvmVm, seat: Seat, twin: _silicon.Cpu) -> None:
        super().__init__(vm, seat, twin)
        self._look, self._due = twin.outside_look, twin.outside_due
        self._window = False  # KVM is to leave when an interrupt can be taken
        self._stepping = False

    # Running.

    def begin(self) -> None:
        """This thread uses it now, and is told what comes."""
        super().begin()
        self.twin.outside_begin(timer.KICK)

    def end(self) -> None:
        """And no longer."""
        self.twin.outside_end()
        super().end()

    def kick(self) -> None:
        """From any thread, also out of a wait."""
        super().kick()
        self.twin.outside_wake()

    def close(self, why: str, kick: bool = True) -> None:
        """Every later use raises Closed."""
        super().close(why, kick)
        if kick:
            self.twin.outside_wake()

    def _leave(self) -> None:
        super()._leave()
        self.twin.close(self._closed)  # no message finds it any more

    def run(self, deadline_ns: int | None = None, budget: int | None = None) -> Exit:
        """To the next exit."""
        if deadline_ns is not None or budget is not None or self._guarded:
            return self._run_within(deadline_ns, budget)
        self.begin()
        try:
            return self._go(None)
        finally:
            self.end()

    def _on(self, until: int | None) -> Exit:
        if self._stepping:
            return super()._on(until)
        run = self.kvm_run
        while True:
            if self._kicked or until is not None:
                found = self._ended(until)
                if found is not None:
                    return found
            if self._dirty or self._dirty_system:
                asked = self._look(self._can(), self._task_priority())
            else:  # KVM said at its last exit whether an interrupt can be taken
                can = _TAKES_ALL if run[_READY_AT] and run[_IF_AT] else _TAKES_NMI
                asked = self._look(can, run[_CR8_AT])
            if asked & ~_WINDOW:
                found = self._do(asked, until)
                if found is not None:
                    return found
                continue
            if asked and not self.vm.sees_windows():
                found = self._to_the_window(until)
                if found is not None:
                    return found
                continue
            if asked or self._window:
                self._ask_for_window(bool(asked))
            self._set_timer(until)
            found = (self._ready() if self._dirty or self._dirty_system else None) or self._enter()
            if found is not None:
                return found

    def _ended(self, until: int | None) -> Exit | None:
        if self._kicked:
            return self.take_kick()
        return DeadlinePassed() if until is not None and self.vm.clock.now_ns >= until else None

    # What the interrupt controllers want.

    def _task_priority(self) -> int:
        """CR8, where it is now."""
        if self._dirty_system:
            return self.twin.read_register(Reg.TPR) >> 4
        return self.kvm_run[abi.CR8_AT]

    def _can(self) -> int:
        """What can be taken now, while the twin is the guest."""
        self.pull_all()
        field = self.twin.read_vmcs
        blocked = field(Vmcs.GUEST_INTERRUPTIBILITY) & _BY_STI_OR_MOV_SS
        waits = field(Vmcs.ENTRY_INTERRUPTION_INFO) & _EVENT_WAITS
        takes = self.twin.read_register(Reg.RFLAGS) & _IF and not blocked and not waits
        return _TAKES_ALL if takes else _TAKES_NMI

    def _do(self, asked: int, until: int | None) -> Exit | None:
        """An exit: it comes before what is asked."""
        if asked & _WAIT:
            most = timer.SLICE_NS if self._is_on_main() else _LONG_NS
            self.twin.outside_wait(_NEVER if until is None else until, most)
        elif asked & _MESSAGE:
            return self._take_message()
        elif asked & _NMI:
            found = self._ready()  # setting KVM's state takes an NMI away that waits
            if found is not None:
                return found
            ioctl(self.fd, Ioctl.NMI, 0)
            self._stale_system = True
            self.kvm_run[_READY_AT] = 0  # not both at once: the twin's state has room for one
        elif asked & _INTERRUPT:
            self._interrupt(asked & 0xFF)
        return None

    def _take_message(self) -> Exit | None:
        """INIT or start-up: it changes all of the state."""
        found = self.settle()
        if found is None:
            self.touch_all()
            self.twin.outside_messages()
        return found

    def _interrupt(self, vector: int) -> None:
        if self._dirty or self._dirty_system:
            self.touch_all()
            self.twin.inject(vector, None, 0)
            return
        ioctl(self.fd, Ioctl.INTERRUPT, pack("<I", vector))
        self._stale_system = True
        self.kvm_run[abi.READY_FOR_INTERRUPT_AT] = 0  # until KVM says so again

    def _to_the_window(self, until: int | None) -> Exit | None:
        """On a KVM that would look late the twin goes on until it has taken the interrupt, or to an exit."""
        found = self.settle()
        if found is not None:
            return found
        self.bring_in()
        while True:
            found = self._ended(until)
            if found is not None:
                return found
            end = self.vm.clock.now_ns + timer.SLICE_NS
            found = self._of_twin(self._run_twin(end if until is None else min(end, until), _FEW))
            if found is not None and not isinstance(found, BudgetSpent | DeadlinePassed | Kicked):
                return found
            if not self._look(0, self._task_priority()) & _WINDOW:
                return None

    def _ask_for_window(self, wanted: bool) -> None:
        if wanted != self._window:
            self._window = wanted
            self.kvm_run[abi.REQUEST_WINDOW_AT] = 1 if wanted or self._program_wants_window() else 0

    def _is_on_main(self) -> bool:
        return self._home is not None and self._home.is_main

    def _set_timer(self, until: int | None) -> None:
        """Let the signal come when the APIC's timer, the deadline or Ctrl-C has to be looked at."""
        due, on_main = self._due(), self._is_on_main()
        if until is not None and until < due:
            due = until
        if due != _NEVER or on_main:
            self._alarm_by(self.vm.clock.now_ns, due)

    # KVM's side.

    def _ready(self) -> Exit | None:
        if self._cpuid_waits:
            self._cpuid_waits = False
            self.vm.set_cpuid(self.seat, self.twin.identified_cpuid())
        if self._dirty_system:
            self._system.apic_base = self.twin.unit_read_msr(APIC_BASE)  # what CPUID says of the APIC goes by it
        found = super()._ready()
        if self._window:
            self.kvm_run[abi.REQUEST_WINDOW_AT] = 1
        return found

    def _enter(self) -> Exit | None:
        found = super()._enter()
        if found is None:
            return None
        mine = self._is_mine(found)
        if not mine:
            return found
        return (self.settle() or MonitorTrap()) if self._stepping else None

    def _odd(self, found: Unnamed) -> Exit | None:
        if found.raw["kvm_exit_reason"] == Why.SET_TPR:  # CR8 was lowered: the next look sees it
            return None
        return super()._odd(found)

    # Step by step.

    def _step(self, until: int | None) -> Exit:
        found = self._before_step(until)
        if found is not None:
            return found
        self._stepping = True
        try:
            return super()._step(until)
        finally:
            self._stepping = False

    def _before_step(self, until: int | None) -> Exit | None:
        """Wait in HLT, and let the twin deliver what interrupts, with the first instruction behind it."""
        if self._queued is not None or self._is_within():
            return None
        self.pull_all()
        while self._queued is None:
            found = self._ended(until)
            if found is not None:
                return found
            asked = self._look(0, self._task_priority())
            if asked & (_NMI | _WINDOW):
                return self._by_twin() or MonitorTrap()
            if not asked:
                return None
            found = self._do(asked, until)
            if found is not None:
                return found
        return None
