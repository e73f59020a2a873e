"""The shadow VMCS: what VMREAD and VMWRITE of the guest reach without an exit. Apple: Hypervisor/hv_vmx.h, since 10.15.

It holds values and nothing else: none of its fields has an effect on the vCPU, and no exit writes into it.
"""

from __future__ import annotations

from typing import Final, SupportsIndex

from .._core.checks import integer
from ..errors import BadArgument
from . import _intel_constants as c
from ._process import own_vcpu
from ._status import implemented

_U32: Final = 0xFFFF_FFFF
_FIELDS: Final = frozenset(int(field) for field in c.vmcs_field)
_HIGH_HALF: Final = 1  # of an encoding; only fields of 64 bits have one. SDM vol. 3, "Encodings of VMCS Fields"
_ACCESS: Final = int(c.HV_SHADOW_VMCS_READ | c.HV_SHADOW_VMCS_WRITE)


def _field(field: SupportsIndex) -> int:
    number = integer("field", field, high=_U32)
    whole = number & ~_HIGH_HALF if number >> 13 & 3 == 1 else number
    if whole not in _FIELDS:
        raise BadArgument(f"there is no VMCS field {number:#x}; vmcs_field has their names")
    return number


@implemented
def hv_vmx_vcpu_read_shadow_vmcs(vcpu: SupportsIndex, field: SupportsIndex) -> int:
    """A field of the shadow VMCS, 0 until somebody wrote it. HV_BAD_ARGUMENT for one that does not exist."""
    return own_vcpu(vcpu).engine.read_shadow_vmcs(_field(field))


@implemented
def hv_vmx_vcpu_write_shadow_vmcs(vcpu: SupportsIndex, field: SupportsIndex, value: SupportsIndex) -> None:
    """Set a field of the shadow VMCS, read-only ones and those of the host too; bits beyond its width are dropped.

    HV_BAD_ARGUMENT for a field that does not exist.
    """
    cpu = own_vcpu(vcpu)
    cpu.engine.write_shadow_vmcs(_field(field), integer("value", value))


@implemented
def hv_vmx_vcpu_set_shadow_access(vcpu: SupportsIndex, field: SupportsIndex, flags: SupportsIndex) -> None:
    """Let the guest VMREAD (HV_SHADOW_VMCS_READ) or VMWRITE (HV_SHADOW_VMCS_WRITE) a field without an exit.

    In force while CPU_BASED2_VMCS_SHADOW is set. Any field may be granted, the EPT pointer too; the high half of a
    64-bit field (its encoding plus 1) by itself. HV_BAD_ARGUMENT for a field that does not exist, unknown flags.
    """
    cpu, number, access = own_vcpu(vcpu), _field(field), integer("flags", flags)
    if access & ~_ACCESS:
        raise BadArgument(f"flags {access:#x} has bits that are none; HV_SHADOW_VMCS_READ (1) and _WRITE (2) are")
    cpu.engine.set_shadow_access(number, access)
