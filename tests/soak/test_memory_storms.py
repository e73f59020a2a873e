"""Memory changes from several threads under four running vCPUs: after unmap or protect returns no store lands."""

from __future__ import annotations

import mmap
import random
import threading
import time

import pytest

from pyhv import MmioLoad, MmioStore, Perm, VCpu, VirtualMachine

from .storms import DATA, PAGE, Threads, machine, run_until_told

VCPUS, PAGES = 4, 8
# next: lock inc dword [edi + esi] · add esi, 0x1000 · and esi, 0x7000 · jmp next
WALK = bytes.fromhex("f0ff0437 81c600100000 81e600700000 ebee")
CALM_SECONDS = 20.0


def answer(cpu: VCpu, stopped: object) -> None:
    """Where memory is not there or not writable the guest meets a device that takes everything."""
    match stopped:
        case MmioLoad():
            cpu.answer(0)
        case MmioStore():
            pass
        case _:
            raise AssertionError(f"vCPU {cpu.index} left with {stopped}")


class Pages:
    """Some pages of the guest that one thread changes: its buffer shows every store that lands."""

    def __init__(self, vm: VirtualMachine, first: int, count: int, seed: int) -> None:
        self.vm, self.at, self.count = vm, DATA + first * PAGE, count
        self.choice = random.Random(seed)
        self.buffer = mmap.mmap(-1, count * PAGE)
        self.mapping = vm.map(self.buffer, at=self.at)

    def counters(self, first: int, count: int) -> list[bytes]:
        return [self.buffer[page * PAGE : page * PAGE + 4] for page in range(first, first + count)]

    def disturb(self) -> None:
        """One change, the look that it is complete, and back again."""
        first = self.choice.randrange(self.count)
        count = self.choice.randrange(1, self.count - first + 1)
        at, size = self.at + first * PAGE, count * PAGE
        unmaps = self.choice.random() < 0.5
        if unmaps:
            self.vm.unmap(at=at, size=size)
        else:
            self.vm.protect(at=at, size=size, perm=self.choice.choice((Perm.R, Perm.RX, Perm(0))))
        before = self.counters(first, count)
        time.sleep(self.choice.choice((0, 0, 0.0002)))
        assert self.counters(first, count) == before, "a store landed after the change had returned"
        if unmaps:
            self.vm.map(memoryview(self.buffer)[first * PAGE : first * PAGE + size], at=at)
        else:
            self.vm.protect(at=at, size=size, perm=Perm.RWX)
        if self.choice.random() < 0.05:
            self.wait_for_a_store(first)

    def wait_for_a_store(self, page: int) -> None:
        before, limit = self.counters(page, 1), time.monotonic() + CALM_SECONDS
        while self.counters(page, 1) == before:
            assert time.monotonic() < limit, "no store lands in a page that was given back"
            time.sleep(0.0001)


def storm(seconds: float, seed: int, at_least: int) -> None:
    """Four vCPUs, three threads that change memory, for so long and until there were so many changes.

    How many there are in a second is the host's affair: a change waits for each vCPU to look, and a vCPU whose thread
    has no processor does so when it gets one.
    """
    stop, changes = threading.Event(), [0] * 3
    with machine(WALK, VCPUS, ram_bytes=DATA) as (vm, cpus):
        owned = [Pages(vm, first, count, seed + first) for first, count in ((0, 3), (3, 3), (6, 2))]
        for cpu in cpus:
            cpu.regs.rdi, cpu.regs.rsi = DATA, cpu.index * PAGE
        vcpus, changers = Threads(), Threads()
        for cpu in cpus:
            vcpus.start(run_until_told, cpu, stop, answer)
        end = time.monotonic() + seconds
        limit = end + CALM_SECONDS

        def change(number: int) -> None:
            while (time.monotonic() < end or sum(changes) < at_least) and not vcpus.failures:
                assert time.monotonic() < limit, f"only {sum(changes)} of {at_least} changes in all that time"
                owned[number].disturb()
                changes[number] += 1

        for number in range(len(owned)):
            changers.start(change, number)
        try:
            changers.join()
        finally:
            stop.set()
            for cpu in cpus:
                cpu.kick()
            vcpus.join()


def test_changes_are_exact() -> None:
    storm(1.5, seed=1, at_least=50)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_changes_are_exact_for_long(seed: int) -> None:
    storm(15, seed, at_least=500)
