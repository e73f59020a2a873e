"""The state of a vCPU as the engine protocol names it: every id is the twin's, brought up to date when it is asked."""

from __future__ import annotations

from fcntl import ioctl
from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...arch.x86_64.registers import GENERAL, Reg
from ...arch.x86_64.vmcs import CONTROL_WORDS, CpuBased, Vmcs
from ...errors import BadArgument, Unsupported
from ...exits import BadGuestState, Exit
from . import abi
from .abi import Ioctl
from .capabilities import NO_INTERCEPT, capability, check_control
from .exits import exit_of
from .no_apic import NoApic
from .no_raw import NoRaw
from .pending import Pending
from .state import STATE_MSRS, TSC, General, System, read_msr, takes_msr, write_msr
from .stepping import twin_begins

if TYPE_CHECKING:
    from ..base import EngineSpace
    from .vm import KvmVm, Seat

_GENERAL: Final = frozenset(int(reg) for reg in GENERAL)
_RIP: Final = int(Reg.RIP)
_GUEST_RIP: Final = 0x681E
_TWIN_MSRS: Final = frozenset(STATE_MSRS)


def _is_exit_information(field: int) -> bool:
    """Read-only data. SDM vol. 3D, "Field Encoding in VMCS": bits 11:10 are 1."""
    return field >> 10 & 3 == 1


class RegisterFile(NoApic, NoRaw):
    """State access; `KvmVcpu` adds running."""

    def __init__(self, vm: KvmVm, seat: Seat, twin: _silicon.Cpu) -> None:
        self.vm, self.seat, self.twin = vm, seat, twin
        self.fd, self.kvm_run = seat.fd, seat.run
        self._general = General(seat.fd, twin)
        self._system = System(seat.fd, twin, vm.msrs, seat.run)
        self._stale = self._stale_system = False
        self._dirty = self._dirty_system = True
        self._pending: Pending | None = None
        self._queued: Exit | None = None
        self._twin_waits = self._unknown_exits = False
        self._exiting_msrs: set[int] = set()
        self._table = twin.get_cpuid()
        self._closed = ""
        self._told = False  # the breakpoint at RIP has been reported

    def _idle(self) -> None:
        raise NotImplementedError

    def _pending_exit(self) -> Pending:
        if self._pending is None:
            raise BadArgument("no exit waits for an answer")
        return self._pending

    # Between KVM and the twin.

    def settle(self) -> Exit | None:
        """Let KVM finish what is posted or answered, without going on. An exit: the next piece of the same access.

        KVM drops an access whose registers are set meanwhile: those that were written here come after it.
        """
        if not self._dirty and not self._dirty_system:
            return self._settle()
        found = self._general.merge(self._settle)
        self._stale = False
        self._stale_system &= not self._dirty_system
        return found

    def _settle(self) -> Exit | None:
        while self._pending is not None and not self._pending.waits:
            self._pending = None
            self._stale = self._stale_system = True
            self.kvm_run[abi.IMMEDIATE_EXIT_AT] = 1
            try:
                ioctl(self.fd, Ioctl.RUN, 0)
            except InterruptedError:
                return None
            finally:
                self.kvm_run[abi.IMMEDIATE_EXIT_AT] = 0
            found = self._meaning(exit_of(self.kvm_run))
            if found is not None:
                return found
        return None

    def _meaning(self, found: Exit) -> Exit | None:
        raise NotImplementedError

    def _by_twin(self) -> Exit | None:
        raise NotImplementedError

    def pull(self) -> None:
        """The twin's general registers are the guest's."""
        if self._pending is not None and self._pending.posted:
            self._queued = self.settle()
        if self._stale:
            self._general.pull()
            self._stale = False

    def pull_all(self) -> None:
        """The twin is the guest."""
        self.pull()
        if self._stale_system:
            self._system.pull()
            self._stale_system = False

    def touch_all(self) -> None:
        """The twin is about to be changed."""
        self.pull_all()
        self._dirty = self._dirty_system = True

    def forget_access(self) -> None:
        """The instruction that waits is not to be finished: let KVM finish it with zeros, then undo it."""
        self._told = False
        if self._pending is None or self._pending.posted:
            return
        self.touch_all()
        while self._pending is not None:
            self._pending.blank()
            self._settle()
        self._stale = self._stale_system = False
        self._queued = None

    def _ready(self) -> Exit | None:
        """Before KVM_RUN: KVM's state is the twin's. An exit: it cannot be entered."""
        if not self._dirty and not self._dirty_system:
            return None
        found = self.settle()
        if found is not None:
            return found
        if self._dirty_system:
            problem = self.twin.state_problem()
            if problem:
                return BadGuestState(problem)
            if twin_begins(self.twin):
                return self._by_twin() or self._ready()
            self._system.push()
            self._dirty_system = False
            window = self.twin.read_vmcs(Vmcs.CPU_BASED) & CpuBased.INTERRUPT_WINDOW
            self.kvm_run[abi.REQUEST_WINDOW_AT] = 1 if window else 0
        if self._dirty:
            self._general.push()
            self._dirty = False
        return None

    # The protocol.

    def read_register(self, reg: int) -> int:
        """A register by its HV_X86_ number."""
        self._idle()
        self.pull() if reg in _GENERAL else self.pull_all()
        return self.twin.read_register(reg)

    def write_register(self, reg: int, value: int) -> None:
        """Set one."""
        self._idle()
        if reg == _RIP:
            self.forget_access()
        if reg in _GENERAL:
            self.pull()
            self._dirty = True
        else:
            self.touch_all()
        self.twin.write_register(reg, value)

    def read_vmcs(self, field: int) -> int:
        """A VMCS field: guest state and controls; KVM keeps no exit information."""
        self._idle()
        value = self.twin.read_vmcs(field)
        if _is_exit_information(field):
            raise Unsupported(f"the kvm engine keeps no VMCS exit information (field {field:#x}); the exit has it all")
        if not self._stale and not self._stale_system:
            return value
        self.pull_all()
        return self.twin.read_vmcs(field)

    def write_vmcs(self, field: int, value: int) -> None:
        """Set one. Unsupported where KVM cannot do what it asks for."""
        self._idle()
        if value and field in NO_INTERCEPT:
            raise Unsupported(f"KVM cannot intercept {NO_INTERCEPT[field]}; the soft engine does")
        if field in CONTROL_WORDS:
            check_control(field, value)
        if field == _GUEST_RIP:
            self.forget_access()
        self.touch_all()
        self.twin.write_vmcs(field, value)
        if field == Vmcs.CPU_BASED:
            self._controls_changed()

    def _controls_changed(self) -> None:
        """Whoever runs the guest may do what they ask for, or not."""

    def read_msr(self, msr: int) -> int:
        """An MSR: KeyError where there is none."""
        self._idle()
        return self.read_own_msr(msr)

    def write_msr(self, msr: int, value: int) -> None:
        """Set one."""
        self._idle()
        self.write_own_msr(msr, value)

    def read_own_msr(self, msr: int) -> int:
        """For the guest too."""
        known = self._has_msr(msr)
        if not known:
            found = read_msr(self.fd, msr)
            if found is None:
                raise KeyError("no such MSR")
            return found
        if msr == TSC:
            return read_msr(self.fd, msr) or 0
        self.pull_all()
        return self.twin.read_msr(msr)

    def write_own_msr(self, msr: int, value: int) -> None:
        """For the guest too."""
        if msr == TSC or not self._has_msr(msr):
            if read_msr(self.fd, msr) is None:
                raise KeyError("no such MSR")
            if not write_msr(self.fd, msr, value):
                raise BadArgument("KVM refuses the value")
            return
        self.pull_all()
        before = self.twin.read_msr(msr)
        self.twin.write_msr(msr, value)
        if msr in self.vm.msrs and not takes_msr(self.fd, msr, value):
            self.twin.write_msr(msr, before)
            raise BadArgument("KVM refuses the value")
        self.touch_all()  # only now: registers that are set anew make KVM drop the #GP of a refused access

    def _has_msr(self, msr: int) -> bool:
        try:
            self.twin.read_msr(msr)
        except KeyError:
            return False
        return True

    def leaves_for(self, msr: int) -> bool:
        """Whether an access of the guest is an exit: it was chosen, or nobody has it and those were."""
        if msr in self._exiting_msrs:
            return True
        return self._unknown_exits and not self._has_msr(msr) and read_msr(self.fd, msr) is None

    def msr_exits(self, msr: int, exits: bool) -> None:
        """Let accesses of one MSR leave, or not."""
        self._idle()
        (self._exiting_msrs.add if exits else self._exiting_msrs.discard)(msr)
        self.twin.msr_exits(msr, exits)
        if exits:
            self.vm.filter_msr(msr)

    def unknown_msr_exits(self, exits: bool) -> None:
        """Let accesses of MSRs leave that the vCPU does not have."""
        self._idle()
        self._unknown_exits = exits

    def cpuid_exits(self, exits: bool) -> None:
        """KVM answers CPUID itself."""
        if exits:
            raise Unsupported("KVM cannot make CPUID an exit: give the table (cpuid=…), or use the soft engine")

    def read_xsave(self) -> bytes:
        """The vector state, in the twin's layout."""
        self._idle()
        self.pull_all()
        return self.twin.read_xsave()

    def write_xsave(self, image: bytes) -> None:
        """Set it."""
        self._idle()
        self.touch_all()
        self.twin.write_xsave(image)

    def state_problem(self) -> str | None:
        """Which rule of a VM entry the state breaks."""
        self._idle()
        self.pull_all()
        return self.twin.state_problem()

    def read_unfinished(self) -> bytes:
        """What an unfinished instruction was answered, where the twin executes it; KVM does not tell."""
        self._idle()
        self.pull_all()
        return self.twin.read_unfinished() if self._twin_waits else b""

    def write_unfinished(self, image: bytes) -> None:
        """Go on within an instruction: in the twin."""
        self._idle()
        self.forget_access()
        self.touch_all()
        self.twin.write_unfinished(image)
        self._twin_waits, self._queued = bool(image), None

    def set_cpuid(self, leaves: list[tuple[int, int, int, int, int, int]]) -> None:
        """What CPUID answers."""
        self._idle()
        self.vm.set_cpuid(self.seat, leaves)
        self.touch_all()
        self.take_table(leaves)

    def take_table(self, leaves: list[tuple[int, int, int, int, int, int]]) -> None:
        """The twin knows what the guest sees, which may be more."""
        self._table = list(leaves)
        self.twin.set_cpuid(self.vm.as_seen(leaves))

    def get_cpuid(self) -> list[tuple[int, int, int, int, int, int]]:
        """The same."""
        self._idle()
        return list(self._table)

    def capability(self, word: int) -> int:
        """A VMX capability word: what KVM cannot intercept must be 0."""
        return capability(word)

    def inject(self, vector: int, error_code: int | None, kind: int) -> None:
        """Deliver an event at the next run."""
        self._idle()
        self.touch_all()
        self.twin.inject(vector, error_code, kind)

    def translate(self, gva: int, write: bool = False) -> int | None:
        """GVA → GPA by the guest's tables."""
        self._idle()
        self.pull_all()
        return self.twin.translate(gva, write)

    def invalidate_tlb(self) -> None:
        """Forget what was translated."""
        self._idle()
        self.touch_all()
        self.twin.invalidate_tlb()

    def set_space(self, space: EngineSpace | None) -> None:
        """There is one."""
        if space is not None:
            raise Unsupported(
                "a VM of the kvm engine has one guest-physical address space; one of the soft engine has more"
            )

    def reset(self) -> None:
        """The state after RESET."""
        self._idle()
        self.forget_access()
        self.touch_all()
        self.twin.reset()
