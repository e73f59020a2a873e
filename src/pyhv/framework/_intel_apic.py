"""The interrupt controllers of HV_VM_ACCEL_APIC: the names exist, every call raises HvError of HV_UNSUPPORTED."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, SupportsIndex

from ._status import later


class StartupAp(NamedTuple):
    """Which vCPUs are to start (by id), and where."""

    is_actv: list[bool]
    ap_rip: int


class InjectException(NamedTuple):
    """The exception that the guest earned."""

    vec: int
    valid: bool
    code: int
    restart: bool


# The interrupt controllers in the framework.


@later
def hv_vm_lapic_set_intr(vcpu: SupportsIndex, vector: SupportsIndex, trig: SupportsIndex) -> None:
    """Delivers a vector to the virtual local APIC of a vCPU."""


@later
def hv_vm_lapic_msi(addr: SupportsIndex, data: SupportsIndex) -> None:
    """Delivers a message-signalled interrupt, given as its address and data, to the vCPUs it names."""


@later
def hv_vm_ioapic_assert_irq(intin: SupportsIndex) -> None:
    """Raises a pin of the virtual I/O APIC."""


@later
def hv_vm_ioapic_deassert_irq(intin: SupportsIndex) -> None:
    """Lowers a pin of the virtual I/O APIC."""


@later
def hv_vm_ioapic_pulse_irq(intin: SupportsIndex) -> None:
    """Raises and then lowers a pin of the virtual I/O APIC."""


@later
def hv_vm_ioapic_read(gpa: SupportsIndex) -> int:
    """Reads the 32-bit I/O APIC register at a guest physical address."""
    raise NotImplementedError


@later
def hv_vm_ioapic_write(gpa: SupportsIndex, data: SupportsIndex) -> None:
    """Writes the 32-bit I/O APIC register at a guest physical address."""


@later
def hv_vm_ioapic_get_state(state: bytearray) -> None:
    """Copies out the state of the virtual I/O APIC."""


@later
def hv_vm_ioapic_put_state(state: bytes) -> None:
    """Checks and restores the state of the virtual I/O APIC."""


@later
def hv_vm_send_ioapic_intr(data: SupportsIndex) -> None:
    """Sends the interrupt that a 64-bit I/O APIC redirection entry describes to the local APICs it targets."""


@later
def hv_vm_atpic_assert_irq(irq: SupportsIndex) -> None:
    """Raises a pin of the virtual 8259 pair."""


@later
def hv_vm_atpic_deassert_irq(irq: SupportsIndex) -> None:
    """Lowers a pin of the virtual 8259 pair."""


@later
def hv_vm_atpic_port_read(port: SupportsIndex) -> int:
    """Carries out a guest IN from a port of the virtual 8259 pair."""
    raise NotImplementedError


@later
def hv_vm_atpic_port_write(port: SupportsIndex, value: SupportsIndex) -> None:
    """Carries out a guest OUT to a port of the virtual 8259 pair."""


@later
def hv_vm_atpic_get_state(state: bytearray, is_primary: bool) -> None:
    """Copies out the state of the primary or the secondary virtual 8259."""


@later
def hv_vm_atpic_put_state(state: bytes, is_primary: bool) -> None:
    """Checks and restores the state of the primary or the secondary virtual 8259."""


@later
def hv_vm_set_apic_bus_freq(freq: SupportsIndex) -> None:
    """Sets the timer frequency, in Hz, that all virtual local APICs share."""


@later
def hv_vcpu_inject_extint(vcpu: SupportsIndex) -> None:
    """Queues one external interrupt for the vCPU through the VMCS."""


@later
def hv_vcpu_apic_read(vcpu: SupportsIndex, offset: SupportsIndex) -> int:
    """Reads the local APIC register at a byte offset into the APIC page."""
    raise NotImplementedError


@later
def hv_vcpu_apic_write(vcpu: SupportsIndex, offset: SupportsIndex, data: SupportsIndex) -> bool:
    """Writes the local APIC register at a byte offset and tells whether the caller has more to do."""
    raise NotImplementedError


@later
def hv_vcpu_apic_get_state(vcpu: SupportsIndex, state: bytearray) -> None:
    """Copies out the state of the virtual local APIC."""


@later
def hv_vcpu_apic_put_state(vcpu: SupportsIndex, state: bytes) -> None:
    """Checks and restores the state of the virtual local APIC."""


@later
def hv_vcpu_apic_lsc_enter_r32(  # noqa: PLR0917 - Apple's own order
    vcpu: SupportsIndex,
    is_load: bool,
    rip: SupportsIndex,
    ilen: SupportsIndex,
    cs: SupportsIndex,
    reg: SupportsIndex,
    uva: Sequence[SupportsIndex],
    count: SupportsIndex,
) -> None:
    """Teaches the kernel a 32-bit register move on the APIC page, so that later APIC-access exits at that instruction
    are handled there.
    """


@later
def hv_vcpu_apic_lsc_enter_imm32(  # noqa: PLR0917 - Apple's own order
    vcpu: SupportsIndex,
    rip: SupportsIndex,
    ilen: SupportsIndex,
    cs: SupportsIndex,
    imm32: SupportsIndex,
    uva: Sequence[SupportsIndex],
    count: SupportsIndex,
) -> None:
    """Teaches the kernel a store of a 32-bit constant to the APIC page, so that later APIC-access exits at that
    instruction are handled there.
    """


@later
def hv_vcpu_apic_lsc_invalidate(vcpu: SupportsIndex) -> None:
    """Empties the APIC load-store cache of a vCPU."""


@later
def hv_vcpu_apic_ctrl(vcpu: SupportsIndex, ctrls: SupportsIndex) -> None:
    """Chooses optional behaviour of the virtual local APIC."""


@later
def hv_vcpu_apic_trigger_lvt(vcpu: SupportsIndex, flavor: SupportsIndex) -> None:
    """Fires an entry of the local vector table; only the timer entry is supported."""


# What the interrupt controllers report.


@later
def hv_vcpu_exit_info(vcpu: SupportsIndex) -> int:
    """Tells which kind of extra information belongs to the last exit."""
    raise NotImplementedError


@later
def hv_vcpu_exit_init_ap(vcpu: SupportsIndex, count: SupportsIndex) -> list[bool]:
    """After HV_VM_EXITINFO_INIT_AP: marks which vCPUs the INIT is meant for."""
    raise NotImplementedError


@later
def hv_vcpu_exit_startup_ap(vcpu: SupportsIndex, count: SupportsIndex) -> StartupAp:
    """After HV_VM_EXITINFO_STARTUP_AP: marks which vCPUs are to start and gives their start address."""
    raise NotImplementedError


@later
def hv_vcpu_exit_ioapic_eoi(vcpu: SupportsIndex) -> int:
    """After HV_VM_EXITINFO_IOAPIC_EOI: gives the vector whose end of interrupt the guest signalled."""
    raise NotImplementedError


@later
def hv_vcpu_exit_apic_access_read(vcpu: SupportsIndex) -> int:
    """After HV_VM_EXITINFO_APIC_ACCESS_READ: gives the value of the APIC register that the guest wants to read."""
    raise NotImplementedError


@later
def hv_vcpu_exit_inject_excp(vcpu: SupportsIndex) -> InjectException:
    """After HV_VM_EXITINFO_INJECT_EXCP.

    Describes the exception that the guest earned with an illegal APIC operation.
    """
    raise NotImplementedError
