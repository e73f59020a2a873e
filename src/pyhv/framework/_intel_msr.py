"""MSRs. Apple: Hypervisor/hv_vmx.h."""

from __future__ import annotations

from typing import Final, SupportsIndex

from .._core.checks import integer
from ..arch.x86_64.msrs import MANAGED, NATIVE, UNCOUNTED
from ..errors import BadArgument, Unsupported
from . import _intel_constants as c
from ._process import own_vcpu
from ._status import implemented

_U32: Final = 0xFFFF_FFFF
_ACCESS: Final = int(c.HV_MSR_READ | c.HV_MSR_WRITE)


@implemented
def hv_vcpu_enable_native_msr(vcpu: SupportsIndex, msr: SupportsIndex, enable: bool) -> None:
    """Let the guest reach an MSR without an exit, or (False) make RDMSR and WRMSR of it exit again.

    Takes STAR, LSTAR, CSTAR, FMASK, KERNEL_GS_BASE, FS_BASE, GS_BASE, TSC, TSC_AUX, SYSENTER_*, SPEC_CTRL, PRED_CMD,
    XSS. HV_BAD_ARGUMENT for others.
    """
    cpu, number = own_vcpu(vcpu), integer("msr", msr, high=_U32)
    if number not in NATIVE:
        raise BadArgument(f"MSR {number:#x} cannot be native; {', '.join(f'{one:#x}' for one in sorted(NATIVE))} can")
    try:
        cpu.engine.msr_exits(number, not enable)
    except KeyError:
        raise BadArgument(f"this vCPU has no MSR {number:#x}") from None


@implemented
def hv_vcpu_enable_managed_msr(vcpu: SupportsIndex, msr: SupportsIndex, enable: bool) -> None:
    """Bind an MSR to the vCPU, or (False) unbind it, which also takes the guest's access; its value stays.

    The guest's accesses exit until hv_vcpu_set_msr_access lets them through. Takes what hv_vcpu_enable_native_msr
    takes, but TSC and PRED_CMD. HV_UNSUPPORTED for performance counters and last-branch records, which there are none
    of, as hv_vmx_get_msr_info says; HV_BAD_ARGUMENT for others.
    """
    cpu, number = own_vcpu(vcpu), integer("msr", msr, high=_U32)
    if number in UNCOUNTED:
        raise Unsupported(f"MSR {number:#x}: the software CPU has no performance counters and no last-branch records")
    if number not in MANAGED:
        raise BadArgument(f"MSR {number:#x} cannot be managed; {', '.join(f'{one:#x}' for one in sorted(MANAGED))} can")
    cpu.engine.bind_msr(number, bool(enable))


@implemented
def hv_vcpu_set_msr_access(vcpu: SupportsIndex, msr: SupportsIndex, flags: SupportsIndex) -> None:
    """What the guest may do with a managed MSR without an exit: HV_MSR_READ, HV_MSR_WRITE, both or HV_MSR_NONE.

    HV_BAD_ARGUMENT for one that is not managed, unknown flags.
    """
    cpu, number, access = own_vcpu(vcpu), integer("msr", msr, high=_U32), integer("flags", flags)
    if access & ~_ACCESS:
        raise BadArgument(f"flags {access:#x} has bits that are none; HV_MSR_READ (1) and HV_MSR_WRITE (2) are")
    try:
        cpu.engine.set_msr_access(number, access)
    except KeyError:
        raise BadArgument(f"MSR {number:#x} is not managed; hv_vcpu_enable_managed_msr makes it so") from None


@implemented
def hv_vcpu_read_msr(vcpu: SupportsIndex, msr: SupportsIndex) -> int:
    """The guest's value of an MSR. HV_BAD_ARGUMENT for one that the vCPU does not have."""
    cpu = own_vcpu(vcpu)
    try:
        return cpu.engine.read_msr(msr)  # type: ignore[arg-type]  # what it cannot take is told below
    except (KeyError, TypeError):
        return cpu.msrs[integer("msr", msr, high=_U32)]


@implemented
def hv_vcpu_write_msr(vcpu: SupportsIndex, msr: SupportsIndex, value: SupportsIndex) -> None:
    """Set the guest's value of an MSR.

    HV_BAD_ARGUMENT for one that the vCPU does not have, or a value it does not take.
    """
    cpu = own_vcpu(vcpu)
    try:
        cpu.engine.write_msr(msr, value)  # type: ignore[arg-type]  # what it cannot take is told below
    except (KeyError, TypeError, ValueError):
        cpu.msrs[integer("msr", msr, high=_U32)] = value


@implemented
def hv_vmx_get_msr_info(field: SupportsIndex) -> int:
    """What this host supports of certain guest MSRs: of all of them nothing (0).

    HV_BAD_ARGUMENT for an unknown field.
    """
    number = integer("field", field)
    if number > c.HV_VMX_NEED_MSR_IA32_SPEC_CTRL:
        raise BadArgument(f"there is no MSR info {number}; 0 to {int(c.HV_VMX_NEED_MSR_IA32_SPEC_CTRL)} are")
    return 0
