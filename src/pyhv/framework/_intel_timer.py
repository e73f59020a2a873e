"""The time-stamp counter. Apple: Hypervisor/hv_vmx.h."""

from __future__ import annotations

from typing import SupportsIndex

from .._core import clock
from .._core.checks import U64, integer
from ..arch.x86_64.vmcs import Vmcs
from ..errors import Busy, NoDevice
from ._process import own_vcpu, the_vm
from ._status import implemented


@implemented
def hv_tsc_clock() -> int:
    """A clock at the rate of the guests' TSC, which runs while the process has a VM; 0 without one."""
    try:
        return clock.tsc(the_vm().clock)
    except NoDevice:
        return 0


@implemented
def hv_vm_sync_tsc(tsc: SupportsIndex) -> None:
    """Give every vCPU the same TSC value, from now on. HV_BUSY while one of them runs; then none is changed."""
    vm, value = the_vm(), integer("tsc", tsc)
    vcpus = vm.vcpus()
    for cpu in vcpus:
        if cpu.running:
            raise Busy(f"vCPU {cpu.index} is running; hv_vm_sync_tsc needs every vCPU outside hv_vcpu_run")
    offset = (value - clock.tsc(vm.clock)) & U64
    for cpu in vcpus:
        cpu.engine.write_vmcs(Vmcs.TSC_OFFSET, offset)


@implemented
def hv_vcpu_set_tsc_relative(vcpu: SupportsIndex, offset: SupportsIndex) -> None:
    """Make the guest's TSC hv_tsc_clock plus a signed offset."""
    cpu = own_vcpu(vcpu)
    cpu.engine.write_vmcs(Vmcs.TSC_OFFSET, integer("offset", offset, low=-(1 << 63), high=(1 << 63) - 1) & U64)
