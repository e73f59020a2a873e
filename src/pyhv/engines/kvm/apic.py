"""A vCPU of a VM with interrupt controllers: KVM executes, the twin on the software CPU is its local APIC.

The controllers are the software CPU's own (`silicon/apic`), so there is one truth about them and their state moves between
engines. What the guest does to their pages, ports and MSRs leaves KVM and is done there; what they have for the guest goes
to KVM by KVM_INTERRUPT and KVM_NMI. HLT and waiting for a start-up message wait in the twin. Whoever has something for a
vCPU that executes (another vCPU, a device, its timer) sends its thread the signal that ends KVM_RUN.
"""

from __future__ import annotations

from collections.abc import Iterable
from fcntl import ioctl
from struct import pack
from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...arch.x86_64.registers import Reg
from ...arch.x86_64.vmcs import CpuBased, Vmcs
from ...exits import (
    DeadlinePassed,
    Exit,
    Halted,
    InterruptWindow,
    Kicked,
    MmioLoad,
    MmioStore,
    MonitorTrap,
    MsrRead,
    MsrWrite,
    PortIn,
    PortOut,
    PortOutMany,
    Unnamed,
)
from . import abi, timer
from .abi import Ioctl, Why
from .vcpu import KvmVcpu

if TYPE_CHECKING:
    from .vm import KvmVm, Leaf, Seat

# silicon/x86_64/outside.h.
_INTERRUPT, _WINDOW, _NMI, _MESSAGE, _WAIT = 1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12
_TAKES_INTERRUPT, _TAKES_NMI = 1, 2
_NEVER: Final = (1 << 64) - 1

_SLICE_NS: Final = 20_000_000  # how long a wait on the main thread may keep Ctrl-C waiting
_LONG_NS: Final = 1_000_000_000
_WINDOW_NS: Final = 1_000_000  # a KVM that emulates looks for the window at its next exit only: there is one so often
_HALTED: Final = 1  # VMCS guest activity state
_IF: Final = 1 << 9
_BY_STI_OR_MOV_SS: Final = 3
_EVENT_WAITS: Final = 1 << 31
_TPR_AT: Final = 0x80  # in the local APIC's page
_TSC_DEADLINE_FEATURE: Final = 1 << 24  # CPUID.1:ECX
APIC_BASE, TSC_DEADLINE = 0x1B, 0x6E0
FILTERED: Final = (APIC_BASE, TSC_DEADLINE)
"""MSRs that KVM would answer itself, wrongly for a VM whose interrupt controllers it has not."""
PORTS: Final = frozenset(port for port in range(0x1000) if _silicon.Interrupts.owns_port(port))
"""Of the 8259 pair."""


class ApicVcpu(KvmVcpu):
    """One virtual processor with a local APIC."""

    def __init__(self, vm: KvmVm, seat: Seat, twin: _silicon.Cpu) -> None:
        super().__init__(vm, seat, twin)
        self._look, self._due = twin.outside_look, twin.outside_due
        self._cpuid_waits = True  # it says how many processors there are: known at the first run
        self._window = False  # KVM is to leave when an interrupt can be taken
        self._stepping = False
        self._alarm_for = 0

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

    def _move_in(self, thread: int) -> None:
        super()._move_in(thread)
        self._alarm_for = 0

    def _go(self, until: int | None) -> Exit:
        if self._stepping:
            return super()._go(until)
        if self._queued is not None or self._twin_waits:
            first = self._complete()
            if first is not None:
                return first
        while True:
            found = self._ended(until)
            if found is not None:
                return found
            asked = self._look(_TAKES_NMI | self._can(), self._task_priority())
            if asked & ~_WINDOW:
                found = self._do(asked, until)
                if found is not None:
                    return found
                continue
            self._ask_for_window(bool(asked))
            self._arm(until)
            found = (self._ready() if self._dirty or self._dirty_system else None) or self._enter()
            if found is not None:
                return found

    def _ended(self, until: int | None) -> Exit | None:
        if self._kicked:
            self._kicked = False
            timer.take()
            return Kicked()
        return DeadlinePassed() if until is not None and self.vm.clock.now_ns >= until else None

    # What the interrupt controllers want.

    def _task_priority(self) -> int:
        """CR8, where it is now."""
        if self._dirty_system:
            return self.twin.read_register(Reg.TPR) >> 4
        return self.kvm_run[abi.CR8_AT]

    def _can(self) -> int:
        """Whether an interrupt can be taken now: KVM said so at its last exit, or the twin is the guest and says so."""
        if self._dirty or self._dirty_system:
            self.pull_all()
            return _TAKES_INTERRUPT if self._twin_takes() else 0
        run = self.kvm_run
        return _TAKES_INTERRUPT if run[abi.READY_FOR_INTERRUPT_AT] and run[abi.IF_AT] else 0

    def _twin_takes(self) -> bool:
        field = self.twin.read_vmcs
        blocked = field(Vmcs.GUEST_INTERRUPTIBILITY) & _BY_STI_OR_MOV_SS
        waits = field(Vmcs.ENTRY_INTERRUPTION_INFO) & _EVENT_WAITS
        return bool(self.twin.read_register(Reg.RFLAGS) & _IF) and not blocked and not waits

    def _do(self, asked: int, until: int | None) -> Exit | None:
        """An exit: it comes before what is asked."""
        if asked & _WAIT:
            most = _SLICE_NS if self._on_main else _LONG_NS
            self.twin.outside_wait(_NEVER if until is None else until, most)
        elif asked & _MESSAGE:
            return self._take_message()
        elif asked & _NMI:
            found = self._ready()  # setting KVM's state takes an NMI away that waits
            if found is not None:
                return found
            ioctl(self.fd, Ioctl.NMI, 0)
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
        self.kvm_run[abi.READY_FOR_INTERRUPT_AT] = 0  # until KVM says so again

    def _ask_for_window(self, wanted: bool) -> None:
        if wanted != self._window:
            self._window = wanted
            self.kvm_run[abi.REQUEST_WINDOW_AT] = 1 if wanted or self._program_wants_window() else 0

    def _program_wants_window(self) -> bool:
        return bool(self.twin.read_vmcs(Vmcs.CPU_BASED) & CpuBased.INTERRUPT_WINDOW)

    def _arm(self, until: int | None) -> None:
        """Let the signal come when the timer, the deadline or Ctrl-C has to be looked at."""
        due = self._due()
        if until is not None and until < due:
            due = until
        if due == _NEVER and not self._window and not self._on_main:
            return
        now = self.vm.clock.now_ns
        if self._on_main:
            due = min(due, now + _SLICE_NS)
        if self._window:
            due = min(due, now + _WINDOW_NS)
        if now < self._alarm_for <= due or self._alarm is None:
            return  # an earlier one is set already: then we look again
        self._alarm.set(due - now)
        self._alarm_for = due

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

    def _is_mine(self, found: Exit) -> bool:
        """Do what is the interrupt controllers'; False: it is the program's."""
        match found:
            case PortOut(port, size, data):
                return port in PORTS and self._out(port, size, (data,))
            case MmioStore(gpa, size, value):
                return self._store(gpa, size, value)
            case MmioLoad(gpa, size):
                return self._load(gpa, size)
            case PortIn(port, size, count):
                return port in PORTS and self._in(port, size, count)
            case Halted():
                self.twin.write_vmcs(Vmcs.GUEST_ACTIVITY, _HALTED)
                return bool(self.kvm_run[abi.IF_AT])
            case InterruptWindow():
                return not self._program_wants_window()
            case PortOutMany(port, size, many):
                items = (int.from_bytes(many[at : at + size], "little") for at in range(0, len(many), size))
                return port in PORTS and self._out(port, size, items)
        return False

    def _out(self, port: int, size: int, items: Iterable[int]) -> bool:
        for item in items:
            self.twin.unit_out(port, size, item)
        return True

    def _in(self, port: int, size: int, count: int) -> bool:
        data = b"".join(self.twin.unit_in(port, size).to_bytes(size, "little") for _ in range(count))
        self._pending_exit().answer(data)
        return True

    def _store(self, gpa: int, size: int, value: int) -> bool:
        if not self.twin.unit_store(gpa, size, value):
            return False
        if gpa & 0xFF0 == _TPR_AT:
            self._move_task_priority()
        return True

    def _load(self, gpa: int, size: int) -> bool:
        value = self.twin.unit_load(gpa, size)
        if value is None:
            return False
        self._pending_exit().answer(value)
        return True

    def _move_task_priority(self) -> None:
        self.kvm_run[abi.CR8_AT] = self.twin.read_register(Reg.TPR) >> 4

    def _is_ours(self, found: MsrRead | MsrWrite) -> bool:
        msr = found.msr
        if msr in self._exiting_msrs or not self.twin.unit_owns_msr(msr):
            return super()._is_ours(found)
        pending = self._pending_exit()
        if msr == TSC_DEADLINE:  # CPUID does not announce it
            pending.refuse()
        elif isinstance(found, MsrRead):
            value = self.twin.unit_read_msr(msr)
            pending.refuse() if value is None else pending.answer(value)
        elif self.twin.unit_write_msr(msr, found.value):
            self._move_task_priority()
            if msr == APIC_BASE:
                self.touch_all()
            pending.answer(None)
        else:
            pending.refuse()
        return True

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
        """At a boundary: wait in HLT, and let the twin deliver what interrupts, with the first instruction behind it."""
        if self._queued is not None or self._twin_waits or (self._pending is not None and not self._pending.posted):
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

    # The protocol.

    def set_cpuid(self, leaves: list[Leaf]) -> None:
        """What CPUID answers, but for what the processor says of itself and how many there are."""
        if not self._cpuid_waits:
            super().set_cpuid(leaves)
            return
        self._idle()
        self.touch_all()
        self.twin.set_cpuid(leaves)

    def read_apic(self) -> bytes:
        """The local APIC's state."""
        self._idle()
        self.pull_all()
        return self.twin.read_apic()

    def write_apic(self, image: bytes) -> None:
        """Set it."""
        self._idle()
        self.touch_all()
        self.twin.write_apic(image)

    def apic_read(self, offset: int) -> int:
        """A register of it."""
        self._idle()
        self.pull_all()
        return self.twin.apic_read(offset)

    def apic_write(self, offset: int, value: int) -> bool:
        """Set one."""
        self._idle()
        self.touch_all()
        return self.twin.apic_write(offset, value)

    def apic_post(self, vector: int, trigger: int) -> None:
        """An interrupt for it, from any thread."""
        self._require_open()
        self.twin.apic_post(vector, trigger)

    def apic_trigger_timer(self) -> None:
        """As if its timer were due."""
        self._idle()
        self.twin.apic_trigger_timer()

    def apic_ext_int(self) -> bool:
        """An interrupt of the 8259 pair for it."""
        self._idle()
        return self.twin.apic_ext_int()

    @property
    def idle_ns(self) -> int:
        """Nanoseconds that it waited inside runs."""
        return self.twin.idle_ns


def without_tsc_deadline(rows: list[Leaf]) -> list[Leaf]:
    """A CPUID table that does not announce the APIC timer's third mode.

    KVM would answer IA32_TSC_DEADLINE itself on some processors before its filter is asked, and forget it.
    """
    return [
        (leaf, subleaf, a, b, c & ~_TSC_DEADLINE_FEATURE if leaf == 1 else c, d) for leaf, subleaf, a, b, c, d in rows
    ]
