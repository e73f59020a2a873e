"""Further guest-physical address spaces. Apple: Hypervisor/hv.h, since macOS 10.15."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex

from ._intel_vm import map_into, rights_of
from ._process import own_vcpu, the_vm
from ._status import implemented

if TYPE_CHECKING:
    from typing_extensions import Buffer


@implemented
def hv_vm_space_create() -> int:
    """Add an empty guest-physical address space to the VM; its id. 0, HV_VM_SPACE_DEFAULT, is there from the start.

    HV_NO_RESOURCES beyond HV_CAP_ADDRSPACEMAX.
    """
    return the_vm().add_space().index


@implemented
def hv_vm_space_destroy(asid: SupportsIndex) -> None:
    """Remove an address space and its mappings. HV_BUSY while a vCPU is in it.

    HV_BAD_ARGUMENT for an id that is none, and for HV_VM_SPACE_DEFAULT.
    """
    the_vm().spaces[asid].close()


@implemented
def hv_vm_map_space(
    asid: SupportsIndex, uva: int | Buffer, gpa: SupportsIndex, size: SupportsIndex, flags: SupportsIndex
) -> None:
    """As hv_vm_map, in one address space. The same host memory may be in several. HV_BAD_ARGUMENT also for the id."""
    map_into(the_vm().spaces[asid], uva, gpa, size, rights_of(flags, "hv_vm_map_space"))


@implemented
def hv_vm_unmap_space(asid: SupportsIndex, gpa: SupportsIndex, size: SupportsIndex) -> None:
    """As hv_vm_unmap, in one address space."""
    the_vm().spaces[asid].unmap(at=gpa, size=size)


@implemented
def hv_vm_protect_space(asid: SupportsIndex, gpa: SupportsIndex, size: SupportsIndex, flags: SupportsIndex) -> None:
    """As hv_vm_protect, in one address space."""
    the_vm().spaces[asid].protect(at=gpa, size=size, perm=rights_of(flags, "hv_vm_protect_space"))


@implemented
def hv_vcpu_set_space(vcpu: SupportsIndex, asid: SupportsIndex) -> None:
    """Move a vCPU to an address space, from its next run on. HV_BAD_ARGUMENT for an id that is none."""
    cpu = own_vcpu(vcpu)
    cpu.space = cpu.vm.spaces[asid]
