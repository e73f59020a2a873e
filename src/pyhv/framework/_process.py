"""The VM of the process and its vCPUs by id, for functions that have no object to hold on to."""

from __future__ import annotations

from typing import Final, SupportsIndex

from .._core.checks import integer
from .._core.rules import STRICT
from .._core.threads import here
from .._core.vcpu import VCpu
from .._core.vm import VirtualMachine, sole_engine, sole_vm
from ..errors import BadArgument

_U32: Final = 0xFFFF_FFFF


def create(apic: bool) -> VirtualMachine:
    """Make the VM of the process, with interrupt controllers or without. Raises Busy while there is one."""
    return VirtualMachine(rules=STRICT, apic=apic)


def max_vcpus() -> int:
    """The most vCPUs that a VM of this process can have."""
    return sole_engine().max_vcpus


def max_spaces() -> int:
    """The most address spaces that a VM of this process can have."""
    return sole_engine().max_spaces


def page_bytes() -> int:
    """A host page."""
    return sole_engine().page_bytes


def capability(word: int) -> int:
    """A VMX capability word of the engine; KeyError for none."""
    return sole_engine().capability(word)


the_vm = sole_vm


def any_vcpu(vcpu: SupportsIndex) -> VCpu:
    """A vCPU by id, for calls that any thread may make.

    Raises NoDevice without a VM, BadArgument for an id that is none.
    """
    vm = sole_vm()
    number = integer("vcpu", vcpu, high=_U32)
    found = vm.find(number)
    if found is None:
        live = ", ".join(str(other.index) for other in vm.vcpus()) or "none"
        raise BadArgument(f"there is no vCPU {number}; live now: {live}")
    return found


def own_vcpu(vcpu: SupportsIndex) -> VCpu:
    """A vCPU by id, for calls that only its thread may make. Raises NoDevice, BadArgument from another thread."""
    mine = here.token.vcpu
    if mine is not None and mine.index is vcpu:  # small ints are themselves; whatever else gets here goes the long way
        return mine
    found = any_vcpu(vcpu)
    found.require_owner()
    return found
