"""Write protection as dirty tracking: each page tells of its first store once, and the store is not lost."""

from __future__ import annotations

import random
import threading

import pytest

from pyhv import MmioStore, Perm, VCpu
from pyhv.framework import intel as hv
from pyhv.testing.guest import CODE as RAW_CODE
from pyhv.testing.guest import raw_guest

from .storms import DATA, PAGE, Threads, machine, run_until_told

PAGES = 16
# Each page of 16 from EDI on counts up, again and again:
# xor esi, esi · next: inc dword [edi + esi] · add esi, 0x1000 · cmp esi, 0x10000 · jne next · inc ecx · jmp to the xor
COUNT = bytes.fromhex("31f6 ff0437 81c600100000 81fe00000100 75ef 41 ebea")
# mov bx, 0x2000 · next: mov [bx], al · add bx, 0x1000 · cmp bx, 0xF000 · jne next · hlt
RAW_TOUCH = "bb0020 8807 81c30010 81fb00f0 75f4 f4"


def rounds(count: int, seed: int) -> None:
    """Four vCPUs count in pages of their own; in each round all are protected, and each must tell once."""
    stop, told, lock = threading.Event(), [0] * (4 * PAGES), threading.Lock()
    choice = random.Random(seed)
    with machine(COUNT, 4, ram_bytes=DATA + 4 * PAGES * PAGE) as (vm, cpus):

        def dirty(cpu: VCpu, stopped: object) -> None:
            """INC reads the memory, and its store tells."""
            assert isinstance(stopped, MmioStore), stopped
            page = (stopped.gpa - DATA) // PAGE
            assert page // PAGES == cpu.index
            vm.protect(at=stopped.gpa & -PAGE, size=PAGE, perm=Perm.RWX)
            vm.write(stopped.gpa, stopped.value.to_bytes(stopped.size_bytes, "little"))
            with lock:
                told[page] += 1

        for cpu in cpus:
            cpu.regs.rdi = DATA + cpu.index * PAGES * PAGE
        threads = Threads()
        for cpu in cpus:
            threads.start(run_until_told, cpu, stop, dirty)
        for number in range(count):
            vm.protect(at=DATA, size=4 * PAGES * PAGE, perm=Perm.RX)
            while min(told) <= number and not threads.failures:
                stop.wait(choice.random() / 1000)
            threads.check()
            assert set(told) <= {number + 1}, "a page told of its first store not once"
        stop.set()
        for cpu in cpus:
            cpu.kick()
        threads.join()
        for cpu in cpus:
            expected_low = cpu.regs.rcx
            for page in range(PAGES):
                at = DATA + (cpu.index * PAGES + page) * PAGE
                value = int.from_bytes(vm.read(at, 4), "little")
                assert expected_low <= value <= expected_low + 1, f"page {page} of vCPU {cpu.index} lost a store"


def test_each_page_tells_once_and_no_store_is_lost() -> None:
    rounds(3, seed=1)


@pytest.mark.slow
def test_each_page_tells_once_for_long() -> None:
    rounds(40, seed=2)


def test_apple_s_way_protect_back_and_retry() -> None:
    """4.24: a write to a page without WRITE is exit 48, RIP on it; after hv_vm_protect the same instruction runs."""
    first, end = 0x2000, 0xF000
    with raw_guest(RAW_TOUCH) as raw:
        for value in (0x5A, 0xA5):
            hv.hv_vm_protect(first, end - first, hv.HV_MEMORY_READ | hv.HV_MEMORY_EXEC)
            raw.set(hv.HV_X86_RIP, RAW_CODE)
            raw.set(hv.HV_X86_RAX, value)
            dirty = []
            while (reason := raw.run()) == hv.VMX_REASON_EPT_VIOLATION:
                gpa = raw.read(hv.VMCS_GUEST_PHYSICAL_ADDRESS)
                assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) & 0b111 == 0b010  # a data write
                dirty.append(gpa)
                hv.hv_vm_protect(gpa & -PAGE, PAGE, hv.HV_MEMORY_READ | hv.HV_MEMORY_WRITE | hv.HV_MEMORY_EXEC)
            assert reason == hv.VMX_REASON_HLT
            assert dirty == list(range(first, end, PAGE))
            assert {raw.ram[at] for at in dirty} == {value}
