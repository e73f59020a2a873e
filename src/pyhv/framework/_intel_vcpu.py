"""vCPUs: life cycle, running, registers, floating-point state, times. Apple: Hypervisor/hv.h, hv_vmx.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, SupportsIndex

from .._core import clock
from .._core.checks import integer
from ..errors import BadArgument, HvError, Unsupported
from . import _intel_constants as c
from ._process import any_vcpu, own_vcpu, the_vm
from ._status import implemented

_U32: Final = 0xFFFF_FFFF
_FOREVER: Final = int(c.HV_DEADLINE_FOREVER)
_LEGACY_AREA: Final = 512  # of an XSAVE image: what FXSAVE writes
_MOST: Final = 1 << 20


@implemented
def hv_vcpu_create(flags: SupportsIndex) -> int:
    """Make a vCPU that belongs to the calling thread; its id, the lowest free from 0.

    HV_NO_DEVICE without a VM, HV_BUSY when the thread has one, HV_NO_RESOURCES beyond HV_CAP_VCPUMAX.
    HV_VCPU_TSC_RELATIVE changes nothing, since the guest's TSC always follows hv_tsc_clock; HV_VCPU_ACCEL_RDPMC is
    HV_UNSUPPORTED.
    """
    vm = the_vm()
    number = integer("flags", flags)
    if number & ~int(c.HV_VCPU_ACCEL_RDPMC | c.HV_VCPU_TSC_RELATIVE):
        raise BadArgument(f"flags {number:#x} has bits that hv_vcpu_create does not know")
    if number & c.HV_VCPU_ACCEL_RDPMC:
        raise Unsupported("hv_vcpu_create: pyhv does not have HV_VCPU_ACCEL_RDPMC")
    return vm.vcpu().index


@implemented
def hv_vcpu_destroy(vcpu: SupportsIndex) -> None:
    """Destroy the vCPU of the calling thread, or that of a thread which has ended."""
    any_vcpu(vcpu).close()


@implemented
def hv_vcpu_run(vcpu: SupportsIndex) -> None:
    """Run the guest to its next exit; what it was stands in the VMCS. HV_ERROR when the controls cannot be entered.

    HV_UNSUPPORTED in a VM with HV_VM_ACCEL_APIC: that wants hv_vcpu_run_until.
    """
    cpu = own_vcpu(vcpu)
    if cpu.has_interrupts:
        raise Unsupported("a VM with HV_VM_ACCEL_APIC is run by hv_vcpu_run_until(vcpu, HV_DEADLINE_FOREVER)")
    cpu.enter(None)


@implemented
def hv_vcpu_run_until(vcpu: SupportsIndex, deadline: SupportsIndex) -> None:
    """As hv_vcpu_run, at most until a moment of `mach_absolute_time` (1 ns a tick); then the exit reason is 52.

    HV_DEADLINE_FOREVER never comes; a moment that has passed returns at once.
    """
    cpu = own_vcpu(vcpu)
    moment = integer("deadline", deadline)
    cpu.enter(None if moment == _FOREVER else clock.of_mach(moment, cpu.vm.clock))


@implemented
def hv_vcpu_interrupt(vcpus: Sequence[SupportsIndex], vcpu_count: SupportsIndex | None = None) -> None:
    """Force the first `vcpu_count` of these vCPUs out of the guest (None: all). From any thread.

    Each leaves with exit reason 1; one that is not running leaves its next run at once. HV_BAD_ARGUMENT when one of
    the ids is none; then nobody is interrupted.
    """
    count = len(vcpus) if vcpu_count is None else integer("vcpu_count", vcpu_count, high=_U32)
    if count > len(vcpus):
        raise BadArgument(f"vcpu_count is {count}, but there are {len(vcpus)} ids")
    if count == 1:
        return any_vcpu(vcpus[0]).kick()
    the_vm()
    for cpu in [any_vcpu(vcpu) for vcpu in vcpus[:count]]:
        cpu.kick()
    return None


@implemented
def hv_vcpu_flush(vcpu: SupportsIndex) -> None:
    """HV_UNSUPPORTED, as since macOS 11.0: there is nothing to flush, register writes are in force at once."""
    own_vcpu(vcpu)
    raise Unsupported("hv_vcpu_flush has no effect since macOS 11.0; just leave it out")


@implemented
def hv_vcpu_invalidate_tlb(vcpu: SupportsIndex) -> None:
    """Drop the address translations that the vCPU remembers."""
    own_vcpu(vcpu).engine.invalidate_tlb()


@implemented
def hv_vcpu_get_exec_time(vcpu: SupportsIndex) -> int:
    """Nanoseconds that the vCPU has run the guest in all."""
    return own_vcpu(vcpu).exec_time_ns


@implemented
def hv_vcpu_get_idle_time(vcpu: SupportsIndex) -> int:
    """Nanoseconds that the vCPU waited inside the framework: in HLT, where that makes no exit."""
    return own_vcpu(vcpu).idle_time_ns


@implemented
def hv_vcpu_vmx_status(vcpu: SupportsIndex) -> int:
    """ZF (bit 6) or CF (bit 0) of the last VM entry that failed for its controls. HV_ERROR when none did."""
    status = own_vcpu(vcpu).vmx_status
    if status is None:
        raise HvError(f"no VM entry of vCPU {int(vcpu)} has failed")
    return status


@implemented
def hv_vcpu_read_register(vcpu: SupportsIndex, reg: SupportsIndex) -> int:
    """A register by its HV_X86_ id. HV_BAD_ARGUMENT for an id that is none."""
    try:
        return own_vcpu(vcpu).engine.read_register(reg)  # type: ignore[arg-type]
    except (KeyError, TypeError):
        raise _no_register(reg) from None


@implemented
def hv_vcpu_write_register(vcpu: SupportsIndex, reg: SupportsIndex, value: SupportsIndex) -> None:
    """Set a register; a selector register changes only the selector. HV_BAD_ARGUMENT: an id or value that cannot be."""
    try:
        own_vcpu(vcpu).engine.write_register(reg, value)  # type: ignore[arg-type]
    except (KeyError, TypeError):
        integer("value", value)
        raise _no_register(reg) from None


def _no_register(reg: SupportsIndex) -> BadArgument:
    number = integer("reg", reg, high=_U32)
    return BadArgument(f"there is no register {number}; HV_X86_RIP (0) to HV_X86_XCR0 (50) are")


@implemented
def hv_vcpu_read_fpstate(vcpu: SupportsIndex, size: SupportsIndex) -> bytes:
    """The x87, SSE and AVX state as `size` bytes of a standard XSAVE image, padded with zeros.

    HV_BAD_ARGUMENT below 512 bytes, the legacy area.
    """
    cpu, length = own_vcpu(vcpu), _fpstate_size(size)
    return cpu.engine.read_xsave()[:length].ljust(length, b"\0")


@implemented
def hv_vcpu_write_fpstate(vcpu: SupportsIndex, buffer: bytes | bytearray | memoryview, size: SupportsIndex) -> None:
    """Set the x87, SSE and AVX state from the first `size` bytes of a standard XSAVE image.

    512 bytes set the legacy area and leave the rest. HV_BAD_ARGUMENT below that, for a shorter buffer, and for an image
    that XRSTOR would refuse.
    """
    cpu, length = own_vcpu(vcpu), _fpstate_size(size)
    image = bytes(buffer)
    held = len(image)
    if held < length:
        raise BadArgument(f"size is {length}, but the buffer holds {held} bytes")
    current = cpu.engine.read_xsave()
    whole = len(current)
    given = image if held == length <= whole else image[: min(length, whole)]
    cpu.engine.write_xsave(given + current[length:])


def _fpstate_size(size: SupportsIndex) -> int:
    return integer("size", size, low=_LEGACY_AREA, high=_MOST)
