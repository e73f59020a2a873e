"""Promises of Apple's functions: VM and vCPUs, threads, identity."""

from __future__ import annotations

import os
import threading

from ..framework import intel as hv
from ._promise import covers, covers_each, promise
from .calls import ANY, APIC_ANY, APIC_LIFE, call
from .guest import fails, in_thread, raw_guest, strict_vm


@promise
@covers(hv_vm_create="SUCCESS BUSY", hv_vm_destroy="SUCCESS")
def a_process_has_one_vm(engine: str) -> None:
    """1.2: a second create is HV_BUSY from any thread, without effect on the first; after destroy a new one works."""
    with raw_guest("f4") as raw:
        fails(hv.HV_BUSY, lambda: hv.hv_vm_create(0))
        in_thread(lambda: fails(hv.HV_BUSY, lambda: hv.hv_vm_create(0)))
        assert raw.run() == hv.VMX_REASON_HLT
    with strict_vm():
        pass


@promise
@covers(hv_vm_destroy="SUCCESS BUSY")
def a_vm_with_vcpus_is_not_destroyed(engine: str) -> None:
    """1.3: hv_vm_destroy with a live vCPU is HV_BUSY, and both go on."""
    with raw_guest("f4") as raw:
        fails(hv.HV_BUSY, hv.hv_vm_destroy, "vCPU 0")
        assert raw.run() == hv.VMX_REASON_HLT


@promise
@covers(hv_vcpu_create="SUCCESS", hv_vcpu_destroy="SUCCESS", hv_vm_create="SUCCESS", hv_vm_destroy="SUCCESS")
def rapid_rounds_work(engine: str) -> None:
    """1.5: a thousand rounds of create and destroy, with a vCPU in each."""
    for _ in range(1000):
        with strict_vm():
            hv.hv_vcpu_destroy(hv.hv_vcpu_create(0))


@promise
@covers(
    hv_vcpu_create="SUCCESS",
    hv_vcpu_destroy="SUCCESS",
    hv_vcpu_interrupt="SUCCESS",
    hv_vcpu_run="SUCCESS",
    hv_vm_allocate="SUCCESS",
    hv_vm_create="SUCCESS",
    hv_vm_deallocate="SUCCESS",
    hv_vm_destroy="SUCCESS",
    hv_vm_map="SUCCESS",
    hv_vm_protect="SUCCESS",
    hv_vm_unmap="SUCCESS",
    hv_vmx_vcpu_read_vmcs="SUCCESS",
)
def memory_calls_work_from_any_thread(engine: str) -> None:
    """1.6: create, map, protect, unmap, destroy and interrupt from threads that own nothing."""
    in_thread(lambda: hv.hv_vm_create(0))
    vcpu = hv.hv_vcpu_create(0)
    block = hv.hv_vm_allocate(4096, 0)
    in_thread(lambda: hv.hv_vm_map(block, 0, 4096, 7))
    in_thread(lambda: hv.hv_vm_protect(0, 4096, 5))
    in_thread(lambda: hv.hv_vcpu_interrupt([vcpu], 1))
    in_thread(lambda: hv.hv_vm_unmap(0, 4096))
    hv.hv_vcpu_run(vcpu)
    assert hv.hv_vmx_vcpu_read_vmcs(vcpu, hv.VMCS_RO_EXIT_REASON) == hv.VMX_REASON_IRQ
    hv.hv_vcpu_destroy(vcpu)
    hv.hv_vm_deallocate(block, 4096)
    in_thread(hv.hv_vm_destroy)


@promise
@covers_each(ANY, "SUCCESS")
def what_names_no_owner_works_from_any_thread(engine: str) -> None:
    """1.6: each of these calls in a thread that owns nothing, for a VM and a vCPU of another."""
    with strict_vm():
        vcpu = hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT)
        for name, arguments in ANY.items():
            in_thread(call(name, arguments))
        hv.hv_vcpu_run_until(vcpu, 0)
        assert hv.hv_vmx_vcpu_read_vmcs(vcpu, hv.VMCS_RO_EXIT_REASON) == hv.VMX_REASON_IRQ
        hv.hv_vcpu_destroy(vcpu)


@promise
@covers_each(APIC_LIFE | APIC_ANY, "SUCCESS")
def interrupts_come_from_any_thread(engine: str) -> None:
    """1.6, 4.32: each call for the interrupt controllers of a VM in a thread that owns nothing."""
    with strict_vm(hv.HV_VM_ACCEL_APIC):
        for name, arguments in APIC_LIFE.items():
            in_thread(call(name, arguments))
        vcpu = hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT)
        for name, arguments in APIC_ANY.items():
            in_thread(call(name, arguments))
        hv.hv_vcpu_destroy(vcpu)


@promise
@covers(hv_vcpu_create="SUCCESS", hv_vcpu_destroy="SUCCESS BAD_ARGUMENT", hv_vcpu_run="BAD_ARGUMENT")
def a_vcpu_of_an_ended_thread_can_be_destroyed(engine: str) -> None:
    """1.8: refused while the owner lives, allowed from any thread once it has ended."""
    with strict_vm():
        made, leave = threading.Event(), threading.Event()
        ids: list[int] = []

        def owner() -> None:
            ids.append(hv.hv_vcpu_create(0))
            made.set()
            leave.wait(10)

        worker = threading.Thread(target=owner)
        worker.start()
        made.wait(10)
        try:
            fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_destroy(ids[0]))
        finally:
            leave.set()
            worker.join()
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_run(ids[0]), "ended")
        hv.hv_vcpu_destroy(ids[0])
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_destroy(ids[0]))


@promise
@covers(
    hv_vcpu_create="SUCCESS",
    hv_vcpu_destroy="SUCCESS",
    hv_vcpu_interrupt="BAD_ARGUMENT",
    hv_vcpu_read_register="SUCCESS",
    hv_vcpu_run="BAD_ARGUMENT",
    hv_vcpu_write_register="SUCCESS",
)
def ids_are_small_and_reused(engine: str) -> None:
    """1.9: from 0 in order of creation; the lowest free one comes back, fresh; stale ids are HV_BAD_ARGUMENT."""
    with strict_vm():
        first = hv.hv_vcpu_create(0)
        assert first == 0
        hv.hv_vcpu_write_register(first, hv.HV_X86_RAX, 7)

        def others() -> None:
            assert hv.hv_vcpu_create(0) == 1
            in_thread(third)
            hv.hv_vcpu_destroy(1)

        def third() -> None:
            assert hv.hv_vcpu_create(0) == 2
            hv.hv_vcpu_destroy(2)

        in_thread(others)
        hv.hv_vcpu_destroy(first)
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_run(first), "vCPU 0")
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_interrupt([first], 1))
        assert hv.hv_vcpu_create(0) == 0
        assert hv.hv_vcpu_read_register(0, hv.HV_X86_RAX) == 0
        hv.hv_vcpu_destroy(0)


@promise
@covers(hv_vcpu_create="SUCCESS BUSY")
def a_thread_has_one_vcpu(engine: str) -> None:
    """1.1: a second vCPU on the same thread is HV_BUSY; after destroy it can have another."""
    with raw_guest("f4") as raw:
        fails(hv.HV_BUSY, lambda: hv.hv_vcpu_create(0), f"vCPU {raw.vcpu}")


@promise
@covers(hv_capability="SUCCESS BAD_ARGUMENT", hv_vcpu_create="SUCCESS NO_RESOURCES", hv_vcpu_destroy="SUCCESS")
def there_is_a_most_of_vcpus(engine: str) -> None:
    """1.10: beyond HV_CAP_VCPUMAX HV_NO_RESOURCES; unknown limits are HV_BAD_ARGUMENT."""
    most = hv.hv_capability(hv.HV_CAP_VCPUMAX)
    assert most >= 1
    assert hv.hv_capability(hv.HV_CAP_ADDRSPACEMAX) >= 1
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_capability(2))
    leave = threading.Event()
    made = threading.Semaphore(0)

    def owner() -> None:
        vcpu = hv.hv_vcpu_create(0)
        made.release()
        leave.wait(20)
        hv.hv_vcpu_destroy(vcpu)

    with strict_vm():
        workers = [threading.Thread(target=owner) for _ in range(most)]
        try:
            for worker in workers:
                worker.start()
                assert made.acquire(timeout=10)
            fails(hv.HV_NO_RESOURCES, lambda: hv.hv_vcpu_create(0), str(most))
        finally:
            leave.set()
            for worker in workers:
                worker.join()


@promise
@covers(hv_capability="SUCCESS", hv_vcpu_create="SUCCESS")
def a_thread_may_end_with_its_vcpu(engine: str) -> None:
    """1.12: what dead threads leave is cleaned up: it neither holds the VM nor uses up the vCPUs."""
    with strict_vm():
        for _ in range(hv.hv_capability(hv.HV_CAP_VCPUMAX) + 2):
            in_thread(lambda: hv.hv_vcpu_create(0))


@promise
def a_forked_child_makes_its_own_vm(engine: str) -> None:
    """1.13: the child of a process with a VM has none, and creates a fresh one."""
    with raw_guest("f4") as raw:
        child = os.fork()
        if child == 0:
            os._exit(_child())
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert raw.run() == hv.VMX_REASON_HLT


def _child() -> int:
    try:
        fails(hv.HV_NO_DEVICE, lambda: hv.hv_vcpu_run(0))
        with raw_guest("f4") as mine:
            assert mine.vcpu == 0
            assert mine.run() == hv.VMX_REASON_HLT
    except BaseException:
        return 1
    return 0


@promise
@covers(hv_vcpu_create="BAD_ARGUMENT UNSUPPORTED", hv_vm_create="SUCCESS BAD_ARGUMENT", hv_vm_destroy="SUCCESS")
def option_bits_are_checked(engine: str) -> None:
    """4.31: mitigation bits are taken, others refused, what pyhv does not have is HV_UNSUPPORTED; no VM is left."""
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_create(1 << 5))
    hv.hv_vm_create(hv.HV_VM_ACCEL_APIC)
    hv.hv_vm_destroy()
    hv.hv_vm_create(hv.HV_VM_SPECIFY_MITIGATIONS | hv.HV_VM_MITIGATION_A_ENABLE | hv.HV_VM_MITIGATION_E_ENABLE)
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_create(1 << 9))
    fails(hv.HV_UNSUPPORTED, lambda: hv.hv_vcpu_create(hv.HV_VCPU_ACCEL_RDPMC))
    hv.hv_vm_destroy()


@promise
@covers(hv_vm_create="SUCCESS")
def mitigations_change_nothing(engine: str) -> None:
    """4.31: with each of the mitigation bits, and with all, a guest runs as without."""
    bits = [bit for bit in hv.hv_vm_options_t if 0 < bit < hv.HV_VM_ACCEL_APIC]
    assert len(bits) == 6
    for options in (*bits, sum(bits)):
        with raw_guest("40 f4", options=options) as raw:
            assert (raw.run(), raw.reg(hv.HV_X86_RAX)) == (hv.VMX_REASON_HLT, 1)
