"""What the interrupt controllers of HV_VM_ACCEL_APIC left for the client to do, after a run or hv_vcpu_apic_write."""

from __future__ import annotations

from typing import Final, NamedTuple, NoReturn, SupportsIndex

from .._core.checks import integer
from ..errors import HvError
from . import _intel_constants as c
from ._process import max_vcpus, own_vcpu
from ._status import implemented

_GENERAL_PROTECTION: Final = 13


class StartupAp(NamedTuple):
    """Which vCPUs are to start (by id), and where."""

    is_actv: list[bool]
    ap_rip: int


class InjectException(NamedTuple):
    """The exception that the guest earned."""

    vec: int
    valid: bool
    code: int
    restart: bool


def _notice(vcpu: SupportsIndex) -> tuple[int, int, int]:
    """Kind, vector, and vCPUs as bits."""
    cpu = own_vcpu(vcpu)
    _ = cpu.vm.interrupts
    return cpu.engine.exit_notice()


def _expect(vcpu: SupportsIndex, wanted: c.hv_vm_exitinfo_t) -> tuple[int, int]:
    kind, vector, targets = _notice(vcpu)
    if kind != wanted:
        _refuse(kind, wanted)
    return vector, targets


def _refuse(kind: int, wanted: c.hv_vm_exitinfo_t) -> NoReturn:
    raise HvError(
        f"the last exit has {c.hv_vm_exitinfo_t(kind).name}, not {wanted.name}; hv_vcpu_exit_info tells which"
    )


def _ids(count: SupportsIndex) -> range:
    return range(integer("count", count, high=max_vcpus()))


def _by_id(targets: int, ids: range) -> list[bool]:
    return [bool(targets >> n & 1) for n in ids]


@implemented
def hv_vcpu_exit_info(vcpu: SupportsIndex) -> int:
    """Which HV_VM_EXITINFO_* belongs to the last exit; HV_VM_EXITINFO_VMX for one that the VMCS describes."""
    return _notice(vcpu)[0]


@implemented
def hv_vcpu_exit_init_ap(vcpu: SupportsIndex, count: SupportsIndex) -> list[bool]:
    """After HV_VM_EXITINFO_INIT_AP: whether the INIT is meant for vCPU 0, 1, … HV_ERROR after another exit."""
    ids = _ids(count)
    return _by_id(_expect(vcpu, c.HV_VM_EXITINFO_INIT_AP)[1], ids)


@implemented
def hv_vcpu_exit_startup_ap(vcpu: SupportsIndex, count: SupportsIndex) -> StartupAp:
    """After HV_VM_EXITINFO_STARTUP_AP: which vCPUs are to start, in real mode at `ap_rip` (CS base there, RIP 0)."""
    ids = _ids(count)
    vector, targets = _expect(vcpu, c.HV_VM_EXITINFO_STARTUP_AP)
    return StartupAp(_by_id(targets, ids), vector << 12)


@implemented
def hv_vcpu_exit_ioapic_eoi(vcpu: SupportsIndex) -> int:
    """After HV_VM_EXITINFO_IOAPIC_EOI: the vector of the level-triggered interrupt that the guest has ended."""
    return _expect(vcpu, c.HV_VM_EXITINFO_IOAPIC_EOI)[0]


@implemented
def hv_vcpu_exit_apic_access_read(vcpu: SupportsIndex) -> int:
    """After HV_VM_EXITINFO_APIC_ACCESS_READ, which never comes: the software CPU does such loads itself. HV_ERROR."""
    _refuse(_notice(vcpu)[0], c.HV_VM_EXITINFO_APIC_ACCESS_READ)


@implemented
def hv_vcpu_exit_inject_excp(vcpu: SupportsIndex) -> InjectException:
    """After HV_VM_EXITINFO_INJECT_EXCP: the exception for the guest, whose RIP is still on the instruction."""
    vector, _ = _expect(vcpu, c.HV_VM_EXITINFO_INJECT_EXCP)
    return InjectException(vector, vector == _GENERAL_PROTECTION, 0, True)
