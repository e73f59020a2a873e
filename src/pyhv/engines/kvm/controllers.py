"""What the guest does to the interrupt controllers of its VM, and what a program may ask of them.

They are the software CPU's own (`silicon/apic`): their pages, ports and MSRs leave KVM, and the twin does the access.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...arch.x86_64.registers import Reg
from ...arch.x86_64.vmcs import CpuBased, Vmcs
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
)
from . import abi
from .vcpu import KvmVcpu

if TYPE_CHECKING:
    from .vm import KvmVm, Leaf, Seat

_HALTED: Final = 1  # VMCS guest activity state
_TPR_AT: Final = 0x80  # in the local APIC's page
APIC_BASE, TSC_DEADLINE = 0x1B, 0x6E0
FILTERED: Final = (APIC_BASE, TSC_DEADLINE)
"""MSRs that KVM would answer itself, wrongly for a VM whose interrupt controllers it has not."""
PORTS: Final = frozenset(port for port in range(0x1000) if _silicon.Interrupts.owns_port(port))
"""Of the 8259 pair."""


class Controllers(KvmVcpu):
    """A vCPU whose twin is its local APIC; `ApicVcpu` adds running."""

    def __init__(self, vm: KvmVm, seat: Seat, twin: _silicon.Cpu) -> None:
        super().__init__(vm, seat, twin)
        self._cpuid_waits = True  # it says how many processors there are: known at the first run

    # The guest.

    def _is_mine(self, found: Exit) -> bool:
        """Do what is the interrupt controllers'; False: it is the program's."""
        match found:
            case PortOut(port, size, data):
                return port in PORTS and self._out(port, size, (data,))
            case MmioStore(gpa, size, value):
                return self._store_unit(gpa, size, value)
            case MmioLoad(gpa, size):
                return self._load_unit(gpa, size)
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

    def _store_unit(self, gpa: int, size: int, value: int) -> bool:
        if not self.twin.unit_store(gpa, size, value):
            return False
        if gpa & 0xFF0 == _TPR_AT:
            self._move_task_priority()
        return True

    def _load_unit(self, gpa: int, size: int) -> bool:
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

    def _program_wants_window(self) -> bool:
        return bool(self.twin.read_vmcs(Vmcs.CPU_BASED) & CpuBased.INTERRUPT_WINDOW)

    # The program.

    def set_cpuid(self, leaves: list[Leaf]) -> None:
        """What CPUID answers, but for what the processor says of itself and how many there are."""
        if not self._cpuid_waits:
            super().set_cpuid(leaves)
            return
        self._idle()
        self.touch_all()
        self.take_table(leaves)

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

    def apic_controls(self, controls: int) -> None:
        """What the client does itself."""
        self._idle()
        self.twin.apic_controls(controls)

    def exit_notice(self) -> tuple[int, int, int]:
        """What is left for the client."""
        self._idle()
        return self.twin.exit_notice()

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
