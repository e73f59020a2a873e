"""Functions that exist by name and raise HvError of HV_UNSUPPORTED.

Address spaces, notifiers, managed MSRs, shadow VMCS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

from ._status import later

if TYPE_CHECKING:
    from typing_extensions import Buffer


# Further guest-physical address spaces.


@later
def hv_vm_space_create() -> int:
    """Adds another guest physical address space to the VM and hands back its id."""
    raise NotImplementedError


@later
def hv_vm_space_destroy(asid: SupportsIndex) -> None:
    """Removes a guest physical address space that was added earlier."""


@later
def hv_vm_map_space(
    asid: SupportsIndex,
    uva: int | Buffer,
    gpa: SupportsIndex,
    size: SupportsIndex,
    flags: SupportsIndex,
) -> None:
    """Like hv_vm_map, for the address space with the given id."""


@later
def hv_vm_unmap_space(asid: SupportsIndex, gpa: SupportsIndex, size: SupportsIndex) -> None:
    """Like hv_vm_unmap, for the address space with the given id."""


@later
def hv_vm_protect_space(asid: SupportsIndex, gpa: SupportsIndex, size: SupportsIndex, flags: SupportsIndex) -> None:
    """Like hv_vm_protect, for the address space with the given id."""


@later
def hv_vcpu_set_space(vcpu: SupportsIndex, asid: SupportsIndex) -> None:
    """Switches a vCPU to another guest physical address space."""


# MSRs that the host manages.


@later
def hv_vcpu_enable_managed_msr(vcpu: SupportsIndex, msr: SupportsIndex, enable: bool) -> None:
    """Binds an MSR to a vCPU so that it is saved and restored with it, or unbinds it."""


@later
def hv_vcpu_set_msr_access(vcpu: SupportsIndex, msr: SupportsIndex, flags: SupportsIndex) -> None:
    """Sets whether the guest may read or write a bound MSR without an exit."""


# The shadow VMCS, and the APIC page of the VMCS.


@later
def hv_vmx_vcpu_read_shadow_vmcs(vcpu: SupportsIndex, field: SupportsIndex) -> int:
    """Reads one field of the shadow VMCS of a vCPU."""
    raise NotImplementedError


@later
def hv_vmx_vcpu_write_shadow_vmcs(vcpu: SupportsIndex, field: SupportsIndex, value: SupportsIndex) -> None:
    """Sets one field of the shadow VMCS of a vCPU."""


@later
def hv_vmx_vcpu_set_shadow_access(vcpu: SupportsIndex, field: SupportsIndex, flags: SupportsIndex) -> None:
    """Sets whether the guest may read or write a shadow VMCS field without an exit."""


@later
def hv_vmx_vcpu_set_apic_address_space(vcpu: SupportsIndex, asid: SupportsIndex, gpa: SupportsIndex) -> None:
    """Like hv_vmx_vcpu_set_apic_address, for a given address space."""
