"""Life cycle, limits and memory of the VM. Apple: Hypervisor/hv.h."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, SupportsIndex

from .._core import host
from .._core.checks import integer
from .._core.mapping import BorrowedRange
from .._core.spaces import Space
from ..errors import BadArgument, Unsupported
from . import _intel_constants as c
from ._process import create, max_spaces, max_vcpus, page_bytes, the_vm
from ._status import implemented

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MITIGATIONS: Final = int(
    c.HV_VM_SPECIFY_MITIGATIONS
    | c.HV_VM_MITIGATION_A_ENABLE
    | c.HV_VM_MITIGATION_B_ENABLE
    | c.HV_VM_MITIGATION_C_ENABLE
    | c.HV_VM_MITIGATION_D_ENABLE
    | c.HV_VM_MITIGATION_E_ENABLE
)
_ACCEL_APIC: Final = int(c.HV_VM_ACCEL_APIC)
_RIGHTS: Final = int(c.HV_MEMORY_READ | c.HV_MEMORY_WRITE | c.HV_MEMORY_EXEC)
_MORE_RIGHTS: Final = int(
    c.HV_MEMORY_UEXEC
    | c.HV_MEMORY_MAXPROT
    | c.HV_MEMORY_MAXPROT_READ
    | c.HV_MEMORY_MAXPROT_WRITE
    | c.HV_MEMORY_MAXPROT_EXEC
    | c.HV_MEMORY_MAXPROT_UEXEC
)


def known_flags(flags: SupportsIndex, taken: int, refused: int, what: str) -> int:
    """`flags` with bits of `taken` only. Unsupported for those of `refused`, BadArgument for bits that mean nothing."""
    number = integer("flags", flags)
    if not number & ~taken:
        return number
    unknown = number & ~(taken | refused)
    if unknown:
        raise BadArgument(f"flags {number:#x} has bits that {what} does not know: {unknown:#x}")
    raise Unsupported(f"{what}: pyhv does not have the flags {number & refused:#x} yet")


def rights_of(flags: SupportsIndex, what: str) -> int:
    """What the guest may do, as hv_memory_flags_t; see `known_flags`."""
    return known_flags(flags, _RIGHTS, _MORE_RIGHTS, what)


def map_into(space: Space, uva: int | Buffer, gpa: SupportsIndex, size: SupportsIndex, rights: int) -> None:
    """See hv_vm_map."""
    if isinstance(uva, int):
        address = integer("uva", uva)
        space.map_host(address, at=gpa, size=size, perm=rights, keep=BorrowedRange(host.owner_of(address)))
    else:
        space.map(uva, at=gpa, size=size, perm=rights)


@implemented
def hv_capability(capability: SupportsIndex) -> int:
    """A limit of this host: HV_CAP_VCPUMAX vCPUs a VM, HV_CAP_ADDRSPACEMAX address spaces, the default one among
    them. Works without a VM."""
    number = integer("capability", capability)
    if number == c.HV_CAP_VCPUMAX:
        return max_vcpus()
    if number == c.HV_CAP_ADDRSPACEMAX:
        return max_spaces()
    raise BadArgument(f"capability {number} is none; HV_CAP_VCPUMAX (0) and HV_CAP_ADDRSPACEMAX (1) are")


@implemented
def hv_vm_create(flags: SupportsIndex) -> None:
    """Make the VM of the process. HV_BUSY while there is one, with no effect on that.

    The mitigation bits are taken and change nothing: the software CPU does not speculate. HV_VM_ACCEL_APIC gives it
    interrupt controllers, and HLT waits inside hv_vcpu_run_until. Bits without a meaning are HV_BAD_ARGUMENT.
    """
    known = known_flags(flags, _MITIGATIONS | _ACCEL_APIC, 0, "hv_vm_create")
    create(bool(known & _ACCEL_APIC))


@implemented
def hv_vm_destroy() -> None:
    """End the VM of the process. HV_BUSY while a vCPU of a live thread is left, HV_NO_DEVICE without a VM."""
    the_vm().close()


@implemented
def hv_vm_map(uva: int | Buffer, gpa: SupportsIndex, size: SupportsIndex, flags: SupportsIndex) -> None:
    """Show `size` bytes of host memory to the guest at `gpa`, in whole pages of 4096 bytes.

    `uva` is an address (whoever gives it keeps the memory alive until it is unmapped) or a buffer, which is kept.
    HV_BAD_ARGUMENT: not page-aligned, size 0, beyond the address space, host memory that nobody has mapped.
    HV_DENIED: HV_MEMORY_WRITE over host memory that is not writable. HV_ERROR: something is mapped there, or a buffer
    is too small.
    """
    map_into(the_vm().space, uva, gpa, size, rights_of(flags, "hv_vm_map"))


@implemented
def hv_vm_unmap(gpa: SupportsIndex, size: SupportsIndex) -> None:
    """Take whole pages away from the guest, also a part of what was mapped. HV_ERROR when none of them is mapped."""
    the_vm().unmap(at=gpa, size=size)


@implemented
def hv_vm_protect(gpa: SupportsIndex, size: SupportsIndex, flags: SupportsIndex) -> None:
    """Change the guest's rights on whole mapped pages; 0 takes all. HV_ERROR when one of them is not mapped."""
    the_vm().space.protect(at=gpa, size=size, perm=rights_of(flags, "hv_vm_protect"))


@implemented
def hv_vm_allocate(size: SupportsIndex, flags: SupportsIndex) -> int:
    """Zeroed memory for guests, in whole pages; its address.

    HV_BAD_ARGUMENT for size 0, part of a page, unknown flags.
    """
    known_flags(flags, c.HV_ALLOCATE_DEFAULT, 0, "hv_vm_allocate")
    return host.allocate(size, page_bytes())


@implemented
def hv_vm_deallocate(uva: SupportsIndex, size: SupportsIndex) -> None:
    """Give back what hv_vm_allocate gave, whole. A guest that still has it mapped keeps it until that is unmapped.

    HV_BAD_ARGUMENT for another address or size.
    """
    host.deallocate(uva, size)
