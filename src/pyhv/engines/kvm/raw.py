"""A vCPU with raw exits, Apple's functions': RIP on the instruction, and a VMCS that says what it was about to do.

KVM runs the guest. At an exit the state is brought to where the instruction has not happened, and the twin executes
that one instruction in Apple's manner: what it says in its VMCS is the exit. What KVM still holds of the access is
finished aside at the next entry, without effect.
"""

from __future__ import annotations

import signal
from fcntl import ioctl
from time import monotonic
from typing import TYPE_CHECKING, Final, NoReturn

from ... import _silicon
from ...arch.x86_64.registers import Reg
from ...arch.x86_64.vmcs import CpuBased, Vmcs
from ...errors import HvError, Unsupported
from ...exits import (
    Exit,
    Halted,
    InterruptWindow,
    MmioLoad,
    MmioStore,
    MsrRead,
    MsrWrite,
    PortIn,
    PortOut,
    PortOutMany,
    Shutdown,
    Unnamed,
)
from . import abi, timer
from .abi import Ioctl, Why
from .exits import exit_of, not_entered
from .pending import POSTED, Pending
from .raw_access import RawAccess
from .state import TSC, read_msr

if TYPE_CHECKING:
    from .vm import KvmVm, Seat

_RUN: Final = int(Ioctl.RUN)
_KICKED, _TRIPLE_FAULT, _WINDOW, _DEADLINE = 1, 2, 7, 52
"""Basic exit reasons. SDM vol. 3D, "VMX Basic Exit Reasons"."""
_BAD_STATE: Final = 1 << 31 | 33
_IGNORED: Final = frozenset({Why.INTR, Why.SET_TPR})
_HLT_ACTIVITY: Final = 1
_IF, _BLOCKED = 1 << 9, 3
_VALID: Final = 1 << 31
_RESERVED_FLAGS: Final = ~0x3F7FD7 & (1 << 64) - 1
_LONG_NS: Final = 100_000_000


class RawVcpu(RawAccess):
    """One virtual processor on KVM, for Apple's functions."""

    def __init__(self, vm: KvmVm, seat: Seat, twin: _silicon.Cpu) -> None:
        super().__init__(vm, seat, twin)
        self._halted = False  # the activity state is not "active"
        self._idle_s = 0.0
        vm.filter_all_msrs()

    # Running.

    def run_raw(self, deadline_ns: int | None = None) -> int:
        """To the next exit: its reason."""
        self.begin()
        try:
            return self._admit() or self._on_raw(deadline_ns)
        finally:
            self.end()

    def _on_raw(self, until: int | None) -> int:
        while True:
            if self._kicked or self._is_due(until):
                return self._complete_raw() or self._stopped()
            if self.wants_window and self._interruptible():
                return self._complete_raw() or self._tell(_WINDOW)
            if self._halted:
                self._wait(until)
                continue
            if self.wants_window and not self.vm.sees_windows():
                return self._complete_raw() or self._to_window(until)
            self._load_kvm()
            found = self._enter_raw()
            if found:
                return found

    def _to_window(self, until: int | None) -> int:
        """The twin runs to where the guest can take an interrupt, or to another exit: this KVM would look too late."""
        self.touch_all()
        self._in_twin = True
        before = monotonic()
        try:
            if self._kicked:  # kick() looks the other way round
                self.twin.kick()
            reason = self.twin.run_raw(until)
        finally:
            self._in_twin = False
            self._ran_s += monotonic() - before
        self._halted = self.twin.read_vmcs(Vmcs.GUEST_ACTIVITY) != 0
        self._look_at_mode()
        if reason == _KICKED:
            self.take_kick()
        self._reason = reason
        return reason

    def _stopped(self) -> int:
        if not self._kicked:
            return self._tell(_DEADLINE)
        self.take_kick()
        return self._tell(_KICKED)

    def _tell(self, reason: int) -> int:
        """An exit that has nothing but its reason."""
        self._reason = reason
        self.twin.note_exit(reason)
        return reason

    def _complete_raw(self) -> int:
        """What KVM was answered is done before anything else. An exit of the same instruction, or 0."""
        self._load_kvm()
        while self._pending is not None:
            self.kvm_run[abi.IMMEDIATE_EXIT_AT] = 1
            try:
                found = self._enter_raw()
            finally:
                self.kvm_run[abi.IMMEDIATE_EXIT_AT] = 0
            if found:
                return found
        return 0

    def _enter_raw(self) -> int:
        """KVM_RUN, once. 0: nobody has to know."""
        before = monotonic()
        try:
            ioctl(self.fd, _RUN, 0)
        except InterruptedError:
            timer.take()
            self._pending = None
            return 0
        except OSError as failed:
            found = not_entered(failed)
        else:
            found = exit_of(self.kvm_run)
        finally:
            self._ran_s += monotonic() - before
            self._known = None
            self._stale = self._stale_segments = self._stale_system = True
        self._pending = None
        reason = self._reason_of(found)
        self._entry = None
        return reason

    def _reason_of(self, found: Exit) -> int:
        if isinstance(found, PortOut | PortOutMany):
            self._pending = POSTED
            return self._out(found)
        if isinstance(found, PortIn):
            self._pending = Pending(found, self.kvm_run)
            return self._at_it(found)
        if isinstance(found, MmioStore):
            self._pending = POSTED
            return 0 if self._lookup(found.gpa) and self._is_memory(found) else self._store(found)
        if isinstance(found, MmioLoad):
            self._pending = self._load.again(found)
            return 0 if self._lookup(found.gpa) and self._is_memory(found) else self._at_it(found)
        if isinstance(found, MsrRead | MsrWrite):
            self._pending = Pending(found, self.kvm_run)
            return self._msr(found)
        if isinstance(found, Halted):
            return self._hlt()
        if isinstance(found, Shutdown):
            return self._tell(_TRIPLE_FAULT)
        return self._tell(_WINDOW) if isinstance(found, InterruptWindow) else self._other(found)

    def _other(self, found: Exit) -> int:
        reason = found.raw["kvm_exit_reason"] if isinstance(found, Unnamed) else None
        if reason in _IGNORED:
            return 0
        if reason == Why.INTERNAL_ERROR:  # KVM's emulator gives up: the twin executes it
            self.pull_all()
            return self._execute()
        if reason == Why.FAIL_ENTRY:
            self.pull_all()
            return self._tell(_BAD_STATE)
        raise HvError(f"KVM ended its run with {found}, which no exit of Apple's tells")

    def _hlt(self) -> int:
        if self.twin.read_vmcs(Vmcs.CPU_BASED) & CpuBased.HLT:
            return self._behind_hlt()
        self.twin.write_vmcs(Vmcs.GUEST_ACTIVITY, _HLT_ACTIVITY)
        self._halted = True
        return 0

    def _msr(self, found: MsrRead | MsrWrite) -> int:
        """Whether an MSR leaves is the twin's rule; KVM has let all of them leave."""
        self.pull_all()
        reason = self._execute()
        if not reason and found.msr == TSC:  # the twin has another clock
            self._own_tsc(found)
        return reason

    def _own_tsc(self, found: MsrRead | MsrWrite) -> None:
        if isinstance(found, MsrWrite):
            self.write_own_msr(TSC, found.value)
            return
        value = read_msr(self.fd, TSC) or 0
        self.twin.write_register(Reg.RAX, value & 0xFFFF_FFFF)
        self.twin.write_register(Reg.RDX, value >> 32)

    # An entry.

    def _admit(self) -> int:
        """What an entry checks and delivers is the twin's to do: the exit that it makes instead, or 0."""
        if self._halted and not self.twin.read_vmcs(Vmcs.GUEST_ACTIVITY):
            self._halted = False
        if not self._unchecked and not self._odd_flow():
            return 0
        if self.twin.read_vmcs(Vmcs.ENTRY_INTERRUPTION_INFO) & _VALID:
            self.touch_all()
        else:
            self.pull_all()
        self.twin.kick()
        reason = self.twin.run_raw()
        self._halted = self.twin.read_vmcs(Vmcs.GUEST_ACTIVITY) != 0
        if reason != _KICKED:
            self._reason = reason
            self._unchecked = True  # and the kick still waits
            return reason
        self._look_at_mode()
        self._unchecked = False
        self.kvm_run[abi.REQUEST_WINDOW_AT] = 1 if self.wants_window else 0
        return 0

    def _odd_flow(self) -> bool:
        """Whether RIP or RFLAGS could be refused. SDM vol. 3C, "Checks on Guest RIP and RFLAGS"."""
        if not self._dirty:
            return False
        rip, flags = self.twin.read_register(Reg.RIP), self.twin.read_register(Reg.RFLAGS)
        top = rip >> 47
        fits = not rip >> 32 or (self._mode.bits == 64 and top in (0, 0x1FFFF))
        return not fits or bool(flags & _RESERVED_FLAGS) or not flags & 2 or bool(flags & 1 << 17)

    def _load_kvm(self) -> None:
        """KVM's state is the twin's, or will be once KVM has finished what it is answered."""
        if self._dirty_system:
            self.drop()
            self.push_all()
            self._dirty = True
        if self._dirty:
            self.settle_general()
            self._dirty = False

    def _interruptible(self) -> bool:
        if self._stale and not self._halted:  # KVM looks, but not at one that waits
            return False
        self.pull_all()
        blocked = self.twin.read_vmcs(Vmcs.GUEST_INTERRUPTIBILITY) & _BLOCKED
        return bool(self.twin.read_register(Reg.RFLAGS) & _IF) and not blocked

    # Waiting in HLT.

    def _wait(self, until: int | None) -> None:
        """Until a signal comes, or the deadline; what only an entry can bring does not come meanwhile."""
        left = _LONG_NS if until is None else min(_LONG_NS, max(0, until - self.vm.clock.now_ns))
        before = monotonic()
        try:
            signal.sigtimedwait({timer.KICK}, left / 1e9)
        finally:
            self._idle_s += monotonic() - before

    @property
    def idle_ns(self) -> int:
        """Nanoseconds that it waited in HLT."""
        return int(self._idle_s * 1e9)

    # The objects' face, which a vCPU of Apple's functions has not.

    def run(self, deadline_ns: int | None = None, budget: int | None = None) -> NoReturn:
        """Unsupported."""
        raise _raw_only()

    def step(self) -> NoReturn:
        """Unsupported."""
        raise _raw_only()

    def finish(self) -> NoReturn:
        """Unsupported."""
        raise _raw_only()


def _raw_only() -> Unsupported:
    return Unsupported(
        "a vCPU of Apple's functions on the kvm engine runs by hv_vcpu_run alone; the soft engine's steps"
    )
