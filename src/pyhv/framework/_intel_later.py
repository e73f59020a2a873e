"""Functions that exist by name and raise HvError of HV_UNSUPPORTED.

Managed MSRs, shadow VMCS.
"""

from __future__ import annotations

from typing import SupportsIndex

from ._status import later

# MSRs that the host manages.


@later
def hv_vcpu_enable_managed_msr(vcpu: SupportsIndex, msr: SupportsIndex, enable: bool) -> None:
    """Binds an MSR to a vCPU so that it is saved and restored with it, or unbinds it."""


@later
def hv_vcpu_set_msr_access(vcpu: SupportsIndex, msr: SupportsIndex, flags: SupportsIndex) -> None:
    """Sets whether the guest may read or write a bound MSR without an exit."""


# The shadow VMCS.


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
