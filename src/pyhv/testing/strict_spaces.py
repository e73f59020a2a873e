"""Promises of Apple's functions: further guest-physical address spaces."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, fails, in_thread, raw_guest, strict_vm

PAGE = 4096
RWX = hv.HV_MEMORY_READ | hv.HV_MEMORY_WRITE | hv.HV_MEMORY_EXEC
LOAD = "a00050f4"  # mov al, [0x5000]; hlt


@contextmanager
def space(*pages: int) -> Iterator[tuple[int, mmap.mmap]]:
    """A further address space with memory at these GPAs, all within the first 64 KiB."""
    with mmap.mmap(-1, 0x1_0000) as ram:
        asid = hv.hv_vm_space_create()
        for gpa in pages:
            hv.hv_vm_map_space(asid, memoryview(ram)[gpa : gpa + PAGE], gpa, PAGE, RWX)
        try:
            yield asid, ram
        finally:
            hv.hv_vm_space_destroy(asid)


@promise
@covers(hv_capability="SUCCESS", hv_vm_space_create="SUCCESS NO_DEVICE NO_RESOURCES", hv_vm_space_destroy="SUCCESS")
def spaces_are_counted_from_1(engine: str) -> None:
    """2.17: ids are the lowest free ones; HV_CAP_ADDRSPACEMAX is true, and beyond it there are no resources."""
    most = hv.hv_capability(hv.HV_CAP_ADDRSPACEMAX)
    fails(hv.HV_NO_DEVICE, hv.hv_vm_space_create)
    with strict_vm():
        ids = [in_thread(hv.hv_vm_space_create) for _ in range(max(1, most - 1))]  # where there are none: Unsupported
        assert ids == list(range(1, most))
        fails(hv.HV_NO_RESOURCES, hv.hv_vm_space_create, str(most))
        hv.hv_vm_space_destroy(ids[3])
        assert hv.hv_vm_space_create() == ids[3]
    with strict_vm():
        assert hv.hv_vm_space_create() == 1


@promise
@covers(hv_vcpu_set_space="SUCCESS")
def each_space_has_its_own_memory(engine: str) -> None:
    """2.17: a vCPU sees the space it was sent to, code and data; 0 is the one it began in."""
    with raw_guest(LOAD) as raw, space(CODE, 0x5000) as (asid, ram):
        raw.ram[0x5000] = 0x11
        ram[CODE : CODE + 4] = bytes.fromhex("b02290f4")  # mov al, 0x22; nop; hlt
        for where, value in ((0, 0x11), (asid, 0x22), (0, 0x11), (asid, 0x22)):
            hv.hv_vcpu_set_space(raw.vcpu, where)
            raw.set(hv.HV_X86_RIP, CODE)
            assert raw.run() == hv.VMX_REASON_HLT
            assert raw.reg(hv.HV_X86_RAX) & 0xFF == value, where
        hv.hv_vcpu_set_space(raw.vcpu, hv.HV_VM_SPACE_DEFAULT)


@promise
@covers(hv_vcpu_set_space="SUCCESS")
def what_only_one_space_maps_is_a_violation_in_the_other(engine: str) -> None:
    """2.10, 2.17: the same address is memory here and an EPT violation there, with RIP on the instruction."""
    with raw_guest(LOAD) as raw, space(CODE) as (asid, ram):
        ram[CODE : CODE + 4] = bytes.fromhex(LOAD)
        hv.hv_vcpu_set_space(raw.vcpu, asid)
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        assert (raw.read(hv.VMCS_GUEST_PHYSICAL_ADDRESS), raw.reg(hv.HV_X86_RIP)) == (0x5000, CODE)
        hv.hv_vcpu_set_space(raw.vcpu, hv.HV_VM_SPACE_DEFAULT)
        assert raw.run() == hv.VMX_REASON_HLT


@promise
@covers(
    hv_vcpu_set_space="SUCCESS", hv_vm_map_space="SUCCESS", hv_vm_space_create="SUCCESS", hv_vm_space_destroy="SUCCESS"
)
def one_memory_may_be_in_several_spaces(engine: str) -> None:
    """2.3, 2.17: the same host memory in two spaces, at other addresses; code written through one runs in the other."""
    with raw_guest("c606005090f4") as raw:  # mov byte [0x5000], 0x90; hlt
        asid = hv.hv_vm_space_create()
        hv.hv_vm_map_space(asid, memoryview(raw.ram)[0x5000:0x6000], CODE, PAGE, RWX)
        raw.ram[0x5000:0x5002] = bytes.fromhex("fbf4")  # sti; hlt
        for where, flags in ((asid, 0x202), (0, 2), (asid, 2)):  # in between STI is written over by NOP
            hv.hv_vcpu_set_space(raw.vcpu, where)
            raw.set(hv.HV_X86_RIP, CODE)
            raw.set(hv.HV_X86_RFLAGS, 2)
            assert raw.run() == hv.VMX_REASON_HLT
            assert raw.reg(hv.HV_X86_RFLAGS) & 0x202 == flags
            raw.write(hv.VMCS_GUEST_INTERRUPTIBILITY, 0)
        hv.hv_vcpu_set_space(raw.vcpu, 0)
        hv.hv_vm_space_destroy(asid)


@promise
@covers(
    hv_vcpu_set_space="SUCCESS", hv_vm_protect_space="SUCCESS", hv_vm_unmap="SUCCESS", hv_vm_unmap_space="SUCCESS ERROR"
)
def changes_reach_a_running_vcpu_of_the_space_only(engine: str) -> None:
    """2.13, 2.17: unmap and protect of one space take effect at once in it, and in no other."""
    with raw_guest("a00050ebfb") as raw, space(CODE, 0x5000) as (asid, ram):  # again: mov al, [0x5000]; jmp again
        ram[CODE : CODE + 5] = bytes.fromhex("a00050ebfb")
        hv.hv_vcpu_set_space(raw.vcpu, asid)
        hv.hv_vm_unmap(0x5000, PAGE)  # of the default space
        change = threading.Timer(0.05, lambda: hv.hv_vm_protect_space(asid, 0x5000, PAGE, hv.HV_MEMORY_WRITE))
        change.start()
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        change.join()
        hv.hv_vm_unmap_space(asid, 0x5000, PAGE)
        fails(hv.HV_ERROR, lambda: hv.hv_vm_unmap_space(asid, 0x5000, PAGE))
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        hv.hv_vcpu_set_space(raw.vcpu, 0)


@promise
@covers(
    hv_vcpu_set_space="SUCCESS BAD_ARGUMENT",
    hv_vm_map_space="SUCCESS",
    hv_vm_space_create="SUCCESS",
    hv_vm_space_destroy="SUCCESS BAD_ARGUMENT BUSY",
)
def a_space_in_use_cannot_be_destroyed(engine: str) -> None:
    """2.17: HV_BUSY while a vCPU is in it, with no effect; after hv_vcpu_set_space to 0 it goes."""
    with raw_guest(LOAD) as raw:
        asid = hv.hv_vm_space_create()
        hv.hv_vm_map_space(asid, memoryview(raw.ram)[:0x8000], 0, 0x8000, RWX)
        hv.hv_vcpu_set_space(raw.vcpu, asid)
        fails(hv.HV_BUSY, lambda: hv.hv_vm_space_destroy(asid), "vCPU 0")
        fails(hv.HV_BUSY, lambda: in_thread(lambda: hv.hv_vm_space_destroy(asid)))
        assert raw.run() == hv.VMX_REASON_HLT
        hv.hv_vcpu_set_space(raw.vcpu, hv.HV_VM_SPACE_DEFAULT)
        in_thread(lambda: hv.hv_vm_space_destroy(asid))
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_set_space(raw.vcpu, asid), str(asid))
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_space_destroy(asid))
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_space_destroy(hv.HV_VM_SPACE_DEFAULT))


@promise
@covers(
    hv_vcpu_set_space="BAD_ARGUMENT", hv_vm_map_space="SUCCESS BAD_ARGUMENT ERROR", hv_vm_protect_space="BAD_ARGUMENT"
)
def a_space_is_checked_like_the_first(engine: str) -> None:
    """2.1, 2.6, 2.17: pages, overlap and flags as for hv_vm_map; id 0 is what hv_vm_map means."""
    with raw_guest("f4") as raw, space(CODE) as (asid, ram):
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_map_space(asid, ram, 8, PAGE, RWX))
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_map_space(asid + 1, ram, 0, PAGE, RWX), str(asid + 1))
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_protect_space(asid, CODE, PAGE, 1 << 20))
        fails(hv.HV_ERROR, lambda: hv.hv_vm_map_space(asid, ram, CODE, PAGE, RWX))
        fails(hv.HV_ERROR, lambda: hv.hv_vm_map_space(hv.HV_VM_SPACE_DEFAULT, ram, CODE, PAGE, RWX))
        fails(hv.HV_BAD_ARGUMENT, lambda: in_thread(lambda: hv.hv_vcpu_set_space(raw.vcpu, asid)))


@promise
@covers(
    hv_vcpu_set_space="SUCCESS",
    hv_vmx_vcpu_set_apic_address="SUCCESS",
    hv_vmx_vcpu_set_apic_address_space="SUCCESS BAD_ARGUMENT",
)
def the_apic_page_belongs_to_a_space(engine: str) -> None:
    """4.33, 2.17: the page of one space is exit reason 44 there, and plain memory in the other."""
    with raw_guest(LOAD) as raw, space(CODE, 0x5000) as (asid, ram):
        ram[CODE : CODE + 4] = bytes.fromhex(LOAD)
        raw.control(hv.VMCS_CTRL_CPU_BASED2, hv.HV_VMX_CAP_PROCBASED2, hv.CPU_BASED2_VIRTUAL_APIC)
        hv.hv_vmx_vcpu_set_apic_address_space(raw.vcpu, asid, 0x5000)
        assert raw.run() == hv.VMX_REASON_HLT
        hv.hv_vcpu_set_space(raw.vcpu, asid)
        raw.set(hv.HV_X86_RIP, CODE)
        assert raw.run() == hv.VMX_REASON_APIC_ACCESS
        hv.hv_vcpu_set_space(raw.vcpu, 0)
        assert raw.run() == hv.VMX_REASON_HLT
        hv.hv_vmx_vcpu_set_apic_address(raw.vcpu, 0x5000)
        raw.set(hv.HV_X86_RIP, CODE)
        assert raw.run() == hv.VMX_REASON_APIC_ACCESS
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vmx_vcpu_set_apic_address_space(raw.vcpu, asid, 0x5008))
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vmx_vcpu_set_apic_address_space(raw.vcpu, asid + 1, 0x5000))
