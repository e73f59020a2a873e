"""VMCS and VMX capabilities. Apple: Hypervisor/hv_vmx.h."""

from __future__ import annotations

from typing import Final, NamedTuple, SupportsIndex

from .._core.checks import U64, aligned, integer
from ..arch.x86_64.vmcs import CONTROL_WORDS, Cap, Vmcs
from ..errors import BadArgument
from ._process import capability, own_vcpu, page_bytes
from ._status import implemented

_U32: Final = 0xFFFF_FFFF
_WIDTHS: Final = (0xFFFF, U64, _U32, U64)  # by bits 14:13 of an encoding: 16 bits, 64, 32, natural
_CONTROLS: Final = {int(field): int(word) for field, word in CONTROL_WORDS.items()}
_FIXED: Final[dict[int, tuple[int, int]]] = {
    Vmcs.GUEST_CR0: (Cap.CR0_FIXED0, Cap.CR0_FIXED1),
    Vmcs.GUEST_CR4: (Cap.CR4_FIXED0, Cap.CR4_FIXED1),
}
_CR0_MAY_BE_CLEAR: Final = 1 << 31 | 1  # PG and PE, with unrestricted guest
_READ_ONLY: Final = 1  # bits 11:10 of an encoding: control, read-only, guest, host


class CapWriteVmcs(NamedTuple):
    """Per bit (allowed_0, allowed_1): 0,0 must be clear; 0,1 free; 1,1 must be set."""

    allowed_0: int
    allowed_1: int


@implemented
def hv_vmx_vcpu_read_vmcs(vcpu: SupportsIndex, field: SupportsIndex) -> int:
    """A VMCS field. HV_BAD_ARGUMENT for one that does not exist or that the host owns (the EPT pointer, say)."""
    cpu = own_vcpu(vcpu)
    try:
        return cpu.engine.read_vmcs(field)  # type: ignore[arg-type]  # what it cannot take is told below
    except (KeyError, TypeError):
        return cpu.read_vmcs(field)


@implemented
def hv_vmx_vcpu_write_vmcs(vcpu: SupportsIndex, field: SupportsIndex, value: SupportsIndex) -> None:
    """Set a VMCS field.

    HV_BAD_ARGUMENT for one that does not exist or is read-only, or a value that it does not take.
    """
    cpu = own_vcpu(vcpu)
    try:
        cpu.engine.write_vmcs(field, value)  # type: ignore[arg-type]  # what it cannot take is told below
    except (KeyError, TypeError):
        cpu.write_vmcs(field, value)


@implemented
def hv_vmx_vcpu_get_cap_write_vmcs(vcpu: SupportsIndex, field: SupportsIndex) -> CapWriteVmcs:
    """Which bits of a field must be set, and which may be. HV_BAD_ARGUMENT for a field that cannot be written."""
    cpu = own_vcpu(vcpu)
    number = integer("field", field, high=_U32)
    hv_vmx_vcpu_read_vmcs(vcpu, number)  # it exists
    if number >> 10 & 3 == _READ_ONLY:
        raise BadArgument(f"VMCS field {number:#x} is read-only")
    read = cpu.engine.capability
    if number in _CONTROLS:
        word = read(_CONTROLS[number])
        return CapWriteVmcs(word & _U32, word >> 32)
    if number in _FIXED:
        zero, one = (read(cap) for cap in _FIXED[number])
        return CapWriteVmcs(zero & ~_CR0_MAY_BE_CLEAR if number == Vmcs.GUEST_CR0 else zero, one)
    if number in getattr(cpu.engine, "fields_kept_zero", ()):  # what the engine cannot intercept
        return CapWriteVmcs(0, 0)
    return CapWriteVmcs(0, _WIDTHS[number >> 13 & 3])


@implemented
def hv_vmx_vcpu_set_apic_address(vcpu: SupportsIndex, gpa: SupportsIndex) -> None:
    """The page of the local APIC in the default address space.

    With CPU_BASED2_VIRTUAL_APIC its accesses are exit reason 44. HV_BAD_ARGUMENT for an address that is not
    a multiple of 4096.
    """
    cpu = own_vcpu(vcpu)
    cpu.apic_pages.set(cpu, cpu.vm.space, aligned("gpa", gpa, page_bytes()))


@implemented
def hv_vmx_vcpu_set_apic_address_space(vcpu: SupportsIndex, asid: SupportsIndex, gpa: SupportsIndex) -> None:
    """The page of the local APIC while the vCPU is in one address space; each has its own, or none.

    HV_BAD_ARGUMENT for an address that is not a multiple of 4096, or an id that is none.
    """
    cpu = own_vcpu(vcpu)
    cpu.apic_pages.set(cpu, cpu.vm.spaces[asid], aligned("gpa", gpa, page_bytes()))


@implemented
def hv_vmx_read_capability(field: SupportsIndex) -> int:
    """A VMX capability word: low half must be 1, high half may be 1. Works without a VM. HV_BAD_ARGUMENT for none."""
    number = integer("field", field, high=_U32)
    try:
        return capability(number)
    except KeyError:
        raise BadArgument(f"there is no VMX capability {number}; HV_VMX_CAP_PINBASED (0) to 16, and 32, are") from None
