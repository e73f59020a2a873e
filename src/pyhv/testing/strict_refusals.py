"""Promises of Apple's functions: who may call, when, and what is refused otherwise; each function is asked."""

from __future__ import annotations

import mmap
import os
import tempfile
from functools import partial
from typing import Any, Final

from ..engines.base import EngineStatus
from ..engines.soft import SoftEngine
from ..framework import intel as hv
from ._promise import covers, covers_each, framework_on, known, promise
from .calls import ANY, APIC_ANY, APIC_LIFE, APIC_OWNER, APIC_WRONG, LIFE, OWNER, PAGE, call
from .guest import CODE, RawGuest, fails, in_thread, raw_guest, strict_vm, thread, waiting

_NOBODY: Final = 9
_ENTITLEMENTS: Final = "PYHV_ENTITLEMENTS"


@promise
@covers_each(LIFE | ANY | APIC_LIFE | APIC_ANY | OWNER | APIC_OWNER, "NO_DEVICE")
@covers(hv_tsc_clock="SUCCESS")
def without_a_vm_there_is_no_device(engine: str) -> None:
    """1.4, 6.4: whatever needs a VM is HV_NO_DEVICE when there is none."""
    for name, arguments in (LIFE | ANY | APIC_LIFE | APIC_ANY).items():
        fails(hv.HV_NO_DEVICE, call(name, arguments), "hv_vm_create")
    for name, arguments in (OWNER | APIC_OWNER).items():
        fails(hv.HV_NO_DEVICE, call(name, (0, *arguments)), "hv_vm_create")
    assert hv.hv_tsc_clock() == 0


@promise
@covers_each(OWNER, "BAD_ARGUMENT")
def a_vcpu_belongs_to_its_thread(engine: str) -> None:
    """1.1, 1.7: calls from another thread are HV_BAD_ARGUMENT that names the owner, without effect."""
    with raw_guest("f4") as raw:
        _refused_elsewhere(raw, OWNER)
        assert raw.run() == hv.VMX_REASON_HLT


@promise
@covers_each(APIC_OWNER, "BAD_ARGUMENT")
def its_interrupt_controller_belongs_to_its_thread(engine: str) -> None:
    """1.7, 4.32: as the vCPU that it is a part of."""
    with raw_guest("f4", options=hv.HV_VM_ACCEL_APIC) as raw:
        _refused_elsewhere(raw, APIC_OWNER)


def _refused_elsewhere(raw: RawGuest, table: dict[str, tuple[Any, ...]]) -> None:
    raw.set(hv.HV_X86_RBX, 5)
    for name, arguments in table.items():
        in_thread(partial(fails, hv.HV_BAD_ARGUMENT, call(name, (raw.vcpu, *arguments)), "MainThread"))
    assert (raw.reg(hv.HV_X86_RBX), raw.reg(hv.HV_X86_RIP)) == (5, CODE)


@promise
@covers_each(OWNER, "BAD_ARGUMENT")
@covers(hv_vcpu_interrupt="BAD_ARGUMENT")
def an_id_that_is_none_is_named(engine: str) -> None:
    """1.9: of a vCPU that never was, or is no more, every call is HV_BAD_ARGUMENT with the ids that live."""
    with strict_vm():
        for vcpu in _nobodies():
            _unknown(vcpu, OWNER)
            fails(hv.HV_BAD_ARGUMENT, partial(hv.hv_vcpu_interrupt, [vcpu], 1), f"vCPU {vcpu}")


@promise
@covers_each(APIC_OWNER, "BAD_ARGUMENT")
@covers(hv_vm_lapic_set_intr="BAD_ARGUMENT")
def no_vcpu_has_no_interrupt_controller(engine: str) -> None:
    """1.9, 4.32: as any call about a vCPU that is none."""
    with strict_vm(hv.HV_VM_ACCEL_APIC):
        for vcpu in _nobodies():
            _unknown(vcpu, APIC_OWNER)
            fails(hv.HV_BAD_ARGUMENT, partial(hv.hv_vm_lapic_set_intr, vcpu, 0x41, 0), f"vCPU {vcpu}")


def _nobodies() -> tuple[int, int]:
    """The id of a vCPU that was, and one of none."""
    stale = hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT)
    hv.hv_vcpu_destroy(stale)
    return stale, _NOBODY


def _unknown(vcpu: int, table: dict[str, tuple[Any, ...]]) -> None:
    for name, arguments in table.items():
        fails(hv.HV_BAD_ARGUMENT, call(name, (vcpu, *arguments)), f"vCPU {vcpu}", "none")


@promise
@covers_each(APIC_LIFE | APIC_ANY | APIC_OWNER, "UNSUPPORTED")
def without_the_option_there_are_no_interrupt_controllers(engine: str) -> None:
    """4.32, 1.16: without HV_VM_ACCEL_APIC each call for them is HV_UNSUPPORTED, and the VM goes on."""
    with raw_guest("f4") as raw:
        for name, arguments in (APIC_LIFE | APIC_ANY).items():
            fails(hv.HV_UNSUPPORTED, call(name, arguments), "interrupt controllers")
        for name, arguments in APIC_OWNER.items():
            fails(hv.HV_UNSUPPORTED, call(name, (raw.vcpu, *arguments)), "interrupt controllers")
        assert raw.run() == hv.VMX_REASON_HLT


@promise
@covers(hv_vm_create="DENIED SUCCESS")
def without_the_entitlement_a_vm_is_denied(engine: str) -> None:
    """6.1, 6.3, 6.4: a process that says it has none is HV_DENIED; one that never said anything is entitled."""
    with tempfile.NamedTemporaryFile(suffix=".plist") as file:
        file.write(b"<plist><dict><key>com.apple.vm.networking</key><true/></dict></plist>")
        file.flush()
        os.environ[_ENTITLEMENTS] = file.name
        try:
            fails(hv.HV_DENIED, lambda: hv.hv_vm_create(hv.HV_VM_DEFAULT), "com.apple.security.hypervisor")
        finally:
            del os.environ[_ENTITLEMENTS]
    fails(hv.HV_NO_DEVICE, hv.hv_vm_destroy)
    with strict_vm():
        pass


@promise
@covers(hv_vm_create="UNSUPPORTED DENIED")
def an_engine_that_does_not_work_says_so(engine: str) -> None:
    """6.2, 6.3, 6.4: one that is not there is HV_UNSUPPORTED, one that may not be opened HV_DENIED; no VM is left."""

    class Missing(SoftEngine):
        name = "missing"
        denied = False

        def status(self) -> EngineStatus:
            return EngineStatus(self.name, False, "it is not there", denied=self.denied)

    class Closed(Missing):
        denied = True

    for kind, code in ((Missing, hv.HV_UNSUPPORTED), (Closed, hv.HV_DENIED)):
        with known(kind()) as name, framework_on(name):
            fails(code, lambda: hv.hv_vm_create(hv.HV_VM_DEFAULT), "it is not there")
            fails(hv.HV_NO_DEVICE, hv.hv_vm_destroy)


@promise
@covers(
    hv_vm_map_space="BAD_ARGUMENT ERROR DENIED UNSUPPORTED",
    hv_vm_unmap_space="BAD_ARGUMENT ERROR",
    hv_vm_protect_space="BAD_ARGUMENT ERROR DENIED UNSUPPORTED",
    hv_vm_map="UNSUPPORTED",
)
def a_space_refuses_what_the_first_refuses(engine: str) -> None:
    """2.1, 2.4, 2.5, 2.6, 2.17: the same arguments get the same code, in another space as in the default one."""
    uexec, read, write = hv.HV_MEMORY_UEXEC, hv.HV_MEMORY_READ, hv.HV_MEMORY_WRITE
    with strict_vm(), mmap.mmap(-1, PAGE) as block, mmap.mmap(-1, PAGE, prot=mmap.PROT_READ) as constant:
        asid = hv.hv_vm_space_create()
        for space in (asid, hv.HV_VM_SPACE_DEFAULT):
            maps = partial(hv.hv_vm_map_space, space)
            protects = partial(hv.hv_vm_protect_space, space)
            unmaps = partial(hv.hv_vm_unmap_space, space)
            fails(hv.HV_UNSUPPORTED, partial(maps, block, 0, PAGE, uexec | read))
            fails(hv.HV_DENIED, partial(maps, constant, 0, PAGE, read | write))
            fails(hv.HV_BAD_ARGUMENT, partial(maps, block, 0, 0, read))
            maps(constant, 0, PAGE, read)
            fails(hv.HV_ERROR, partial(maps, block, 0, PAGE, read))
            fails(hv.HV_DENIED, partial(protects, 0, PAGE, write))
            fails(hv.HV_UNSUPPORTED, partial(protects, 0, PAGE, uexec))
            fails(hv.HV_BAD_ARGUMENT, partial(protects, 1, PAGE, read))
            fails(hv.HV_BAD_ARGUMENT, partial(protects, 0, PAGE, 1 << 40))
            fails(hv.HV_ERROR, partial(protects, PAGE, PAGE, read))
            fails(hv.HV_BAD_ARGUMENT, partial(unmaps, 0, PAGE + 1))
            fails(hv.HV_BAD_ARGUMENT, partial(unmaps, 0, 0))
            unmaps(0, PAGE)
            fails(hv.HV_ERROR, partial(unmaps, 0, PAGE))
        fails(hv.HV_UNSUPPORTED, partial(hv.hv_vm_map, block, 0, PAGE, hv.HV_MEMORY_MAXPROT))
        for name in ("hv_vm_unmap_space", "hv_vm_protect_space", "hv_vm_map_space"):
            fails(hv.HV_BAD_ARGUMENT, call(name, (asid + 1, *ANY[name][1:])), str(asid + 1))
        hv.hv_vm_space_destroy(asid)


@promise
@covers(hv_vm_allocate="NO_RESOURCES")
def memory_that_the_host_has_not_is_told(engine: str) -> None:
    """2.16, 6.4: HV_NO_RESOURCES."""
    fails(hv.HV_NO_RESOURCES, lambda: hv.hv_vm_allocate(1 << 60, hv.HV_ALLOCATE_DEFAULT))


@promise
@covers(hv_vm_sync_tsc="BUSY SUCCESS")
def a_running_vcpu_keeps_its_tsc(engine: str) -> None:
    """4.30: a TSC for all while one of them runs is HV_BUSY, and changes none."""
    with raw_guest("fe060030 ebfa") as raw:  # again: inc byte [0x3000]; jmp again
        hv.hv_vm_sync_tsc(0)
        offset = raw.read(hv.VMCS_CTRL_TSC_OFFSET)

        def disturb() -> None:
            waiting(lambda: raw.ram[0x3000] != 0)
            try:
                fails(hv.HV_BUSY, lambda: hv.hv_vm_sync_tsc(5), "vCPU 0")
            finally:
                hv.hv_vcpu_interrupt([raw.vcpu], 1)

        with thread(disturb):
            assert raw.run() == hv.VMX_REASON_IRQ
        assert raw.read(hv.VMCS_CTRL_TSC_OFFSET) == offset


@promise
@covers(
    hv_vcpu_set_space="BAD_ARGUMENT",
    hv_vcpu_set_tsc_relative="BAD_ARGUMENT",
    hv_vcpu_write_msr="BAD_ARGUMENT",
    hv_vmx_vcpu_write_vmcs="BAD_ARGUMENT",
    hv_vmx_vcpu_get_cap_write_vmcs="BAD_ARGUMENT",
    hv_vcpu_write_fpstate="BAD_ARGUMENT",
    hv_vcpu_run_until="ERROR SUCCESS",
)
def arguments_of_a_vcpu_are_checked(engine: str) -> None:
    """1.4, 3.8, 4.8: each has a value that it refuses, before anything has changed."""
    with raw_guest("f4") as raw:
        for refused in (
            lambda: hv.hv_vcpu_set_space(raw.vcpu, 1),
            lambda: hv.hv_vcpu_set_tsc_relative(raw.vcpu, -(1 << 63) - 1),
            lambda: hv.hv_vcpu_write_msr(raw.vcpu, hv.HV_MSR_IA32_LSTAR, 1 << 63),
            lambda: raw.write(hv.VMCS_GUEST_RIP, 1 << 64),
            lambda: hv.hv_vmx_vcpu_get_cap_write_vmcs(raw.vcpu, 0x6FFE),
            lambda: hv.hv_vcpu_write_fpstate(raw.vcpu, bytes(512), 256),
            lambda: hv.hv_vcpu_run_until(raw.vcpu, -1),
        ):
            fails(hv.HV_BAD_ARGUMENT, refused)
        good = raw.read(hv.VMCS_CTRL_PIN_BASED)
        raw.write(hv.VMCS_CTRL_PIN_BASED, 0)
        fails(hv.HV_ERROR, lambda: hv.hv_vcpu_run_until(raw.vcpu, hv.HV_DEADLINE_FOREVER), "PIN_BASED")
        raw.write(hv.VMCS_CTRL_PIN_BASED, good)
        hv.hv_vcpu_run_until(raw.vcpu, hv.HV_DEADLINE_FOREVER)
        assert raw.read(hv.VMCS_RO_EXIT_REASON) == hv.VMX_REASON_HLT


@promise
@covers(
    hv_vcpu_exit_info="SUCCESS",
    hv_vcpu_exit_init_ap="ERROR",
    hv_vcpu_exit_startup_ap="ERROR",
    hv_vcpu_exit_ioapic_eoi="ERROR",
    hv_vcpu_exit_apic_access_read="ERROR",
    hv_vcpu_exit_inject_excp="ERROR",
)
def what_the_exit_does_not_have_is_an_error(engine: str) -> None:
    """4.32: after an exit of the VMX kind each getter is HV_ERROR that names the kind."""
    with raw_guest("e680", options=hv.HV_VM_ACCEL_APIC) as raw:
        hv.hv_vcpu_run_until(raw.vcpu, hv.HV_DEADLINE_FOREVER)
        assert hv.hv_vcpu_exit_info(raw.vcpu) == hv.HV_VM_EXITINFO_VMX
        for name in APIC_OWNER:
            if name.startswith("hv_vcpu_exit_") and name != "hv_vcpu_exit_info":
                fails(hv.HV_ERROR, call(name, (raw.vcpu, *APIC_OWNER[name])), "HV_VM_EXITINFO_VMX")


@promise
@covers_each(APIC_WRONG, "BAD_ARGUMENT")
def arguments_of_the_interrupt_controllers_are_checked(engine: str) -> None:
    """4.32: pins, lines, ports, offsets, addresses, versions and controls that are none are HV_BAD_ARGUMENT."""
    with raw_guest("f4", options=hv.HV_VM_ACCEL_APIC) as raw:
        for name, arguments in APIC_WRONG.items():
            of_vcpu = (raw.vcpu,) if name in APIC_OWNER else ()
            fails(hv.HV_BAD_ARGUMENT, call(name, (*of_vcpu, *arguments)))


@promise
@covers(hv_vm_add_pio_notifier="BAD_ARGUMENT", hv_vm_remove_pio_notifier="BAD_ARGUMENT ERROR")
def arguments_of_a_notifier_are_checked(engine: str) -> None:
    """4.35: ports, sizes, values and flags that cannot be are HV_BAD_ARGUMENT; none to remove is HV_ERROR."""
    with strict_vm():
        for port, size, value, flags in ((0x1_0000, 1, 0, 0), (0x60, 3, 0, 0), (0x60, 1, 256, 0), (0x60, 1, 0, 1)):
            fails(hv.HV_BAD_ARGUMENT, partial(hv.hv_vm_add_pio_notifier, port, size, value, 1, flags))
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_remove_pio_notifier(0x1_0000, 1, 0, 1, hv.HV_ION_NONE))
        fails(hv.HV_ERROR, lambda: hv.hv_vm_remove_pio_notifier(0x60, 1, 0, 1, hv.HV_ION_NONE))
