"""`cpu.controls`: which events make an exit, by name. `cpu.exit_info`: what the VMCS knows about the last exit."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

from ..addresses import GPA, GVA
from ..arch.x86_64.layouts import InterruptionInfo
from ..arch.x86_64.vmcs import CONTROL_WORDS, CpuBased, CpuBased2, Vmcs
from ..errors import Unsupported
from .checks import integer

if TYPE_CHECKING:
    from .vcpu import VCpu


class _Number:
    """A control field that holds a number."""

    def __init__(self, field: Vmcs, bits: int, doc: str) -> None:
        self._field, self._bits, self.__doc__ = field, bits, doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, controls: Controls, owner: type | None = None) -> int:
        return controls._vcpu.engine.read_vmcs(self._field)

    def __set__(self, controls: Controls, value: SupportsIndex) -> None:
        number = integer(self._name, value, high=(1 << self._bits) - 1)
        controls._vcpu.engine.write_vmcs(self._field, number)


class _Switch:
    """One bit of the processor-based controls; True makes the event an exit."""

    def __init__(self, bit: CpuBased | CpuBased2, doc: str) -> None:
        self._bit, self.__doc__ = bit, doc
        self._field = Vmcs.CPU_BASED if isinstance(bit, CpuBased) else Vmcs.CPU_BASED2

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, controls: Controls, owner: type | None = None) -> bool:
        return controls._vcpu.engine.read_vmcs(self._field) & self._bit != 0

    def __set__(self, controls: Controls, value: bool) -> None:
        controls.check(self._field, self._bit, value, self._name)
        engine = controls._vcpu.engine
        if value and self._field is Vmcs.CPU_BASED2:
            engine.write_vmcs(Vmcs.CPU_BASED, engine.read_vmcs(Vmcs.CPU_BASED) | CpuBased.SECONDARY)
        before = engine.read_vmcs(self._field)
        engine.write_vmcs(self._field, before | self._bit if value else before & ~self._bit)


class Controls:
    """Which events of the guest make an exit. What this engine cannot intercept is Unsupported, never ignored.

    Ports, HLT and VMCALL always exit. The rest of the VMCS: `cpu.read_vmcs`, `cpu.write_vmcs`. SDM vol. 3C,
    "VM-Execution Control Fields".
    """

    __slots__ = ("_vcpu",)

    def __init__(self, vcpu: VCpu) -> None:
        self._vcpu = vcpu

    exception_bitmap = _Number(Vmcs.EXCEPTION_BITMAP, 32, "Bit n: exception n makes an Exception exit.")
    page_fault_mask = _Number(Vmcs.PAGE_FAULT_ERROR_MASK, 32, "A #PF exits by its bitmap bit if error & mask == match.")
    page_fault_match = _Number(Vmcs.PAGE_FAULT_ERROR_MATCH, 32, "See page_fault_mask; else the bit is taken inverted.")
    cr0_mask = _Number(Vmcs.CR0_MASK, 64, "Bits of CR0 that the host owns: reads give the shadow, changes exit.")
    cr0_shadow = _Number(Vmcs.CR0_SHADOW, 64, "What the guest reads in the masked bits of CR0.")
    cr4_mask = _Number(Vmcs.CR4_MASK, 64, "Bits of CR4 that the host owns.")
    cr4_shadow = _Number(Vmcs.CR4_SHADOW, 64, "What the guest reads in the masked bits of CR4.")

    interrupt_window = _Switch(CpuBased.INTERRUPT_WINDOW, "InterruptWindow once the guest can take an interrupt.")
    nmi_window = _Switch(CpuBased.NMI_WINDOW, "NmiWindow once the guest can take an NMI.")
    invlpg = _Switch(CpuBased.INVLPG, "INVLPG.")
    mwait = _Switch(CpuBased.MWAIT, "MWAIT.")
    monitor = _Switch(CpuBased.MONITOR, "MONITOR.")
    rdpmc = _Switch(CpuBased.RDPMC, "RDPMC.")
    rdtsc = _Switch(CpuBased.RDTSC, "RDTSC and RDTSCP.")
    cr3_load = _Switch(CpuBased.CR3_LOAD, "MOV to CR3: CrAccess.")
    cr3_store = _Switch(CpuBased.CR3_STORE, "MOV from CR3: CrAccess.")
    cr8_load = _Switch(CpuBased.CR8_LOAD, "MOV to CR8: CrAccess.")
    cr8_store = _Switch(CpuBased.CR8_STORE, "MOV from CR8: CrAccess.")
    mov_dr = _Switch(CpuBased.MOV_DR, "MOV to and from debug registers: DrAccess.")
    monitor_trap = _Switch(CpuBased.MONITOR_TRAP, "Every instruction: MonitorTrap.")
    pause = _Switch(CpuBased.PAUSE, "PAUSE.")
    descriptor_table = _Switch(CpuBased2.DESCRIPTOR_TABLE, "LGDT, SGDT and their kin.")
    wbinvd = _Switch(CpuBased2.WBINVD, "WBINVD.")
    rdrand = _Switch(CpuBased2.RDRAND, "RDRAND.")
    rdseed = _Switch(CpuBased2.RDSEED, "RDSEED.")

    def check(self, field: Vmcs, bit: int, value: bool, name: str) -> None:
        """Raise Unsupported where the capability word does not let the bit be `value`."""
        word = self._vcpu.engine.capability(CONTROL_WORDS[field])
        if value and not (word >> 32) & bit:
            raise Unsupported(f"this engine cannot make an exit of {name}: the bit must be 0 in its capability word")
        if not value and word & 0xFFFF_FFFF & bit:
            raise Unsupported(f"this engine always makes an exit of {name}: the bit must be 1 in its capability word")


class ExitInfo:
    """The read-only VMCS fields of the last exit. SDM vol. 3C, "VM-Exit Information Fields"."""

    __slots__ = ("_vcpu",)

    def __init__(self, vcpu: VCpu) -> None:
        self._vcpu = vcpu

    def _read(self, field: Vmcs) -> int:
        return self._vcpu.engine.read_vmcs(field)

    @property
    def reason(self) -> int:
        """The basic exit reason; bit 31 for a failed entry."""
        return self._read(Vmcs.EXIT_REASON)

    @property
    def qualification(self) -> int:
        """Its layout depends on the reason."""
        return self._read(Vmcs.EXIT_QUALIFICATION)

    @property
    def instruction_length(self) -> int:
        """Bytes of the instruction that caused the exit, where the reason defines it."""
        return self._read(Vmcs.EXIT_INSTRUCTION_LENGTH)

    @property
    def interruption(self) -> InterruptionInfo:
        """The exception or interrupt that caused the exit."""
        return InterruptionInfo(self._read(Vmcs.EXIT_INTERRUPTION_INFO))

    @property
    def interruption_error(self) -> int:
        """Its error code, where `interruption.error_code` is set."""
        return self._read(Vmcs.EXIT_INTERRUPTION_ERROR)

    @property
    def vectoring(self) -> InterruptionInfo:
        """The event that was being delivered when the exit came; `valid` is False when there was none."""
        return InterruptionInfo(self._read(Vmcs.IDT_VECTORING_INFO))

    @property
    def vectoring_error(self) -> int:
        """The error code of that event."""
        return self._read(Vmcs.IDT_VECTORING_ERROR)

    @property
    def gpa(self) -> GPA:
        """The guest-physical address of an EPT violation."""
        return GPA(self._read(Vmcs.GUEST_PHYSICAL_ADDRESS))

    @property
    def gva(self) -> GVA:
        """The linear address, where the reason defines it."""
        return GVA(self._read(Vmcs.GUEST_LINEAR_ADDRESS))

    def __repr__(self) -> str:
        return f"<exit reason {self.reason}, qualification {self.qualification:#x}, length {self.instruction_length}>"
