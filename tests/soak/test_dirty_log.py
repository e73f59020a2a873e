"""The dirty log against running vCPUs: whoever copies what it tells of has, in the end, the guest's memory."""

from __future__ import annotations

import random
import threading
import time

import pytest

from pyhv import Kicked, Perm, VCpu, VirtualMachine, engine_statuses

from .storms import CODE, DATA, PAGE, Threads

ENGINES = [status.name for status in engine_statuses() if status.works]
PAGES, VCPUS = 64, 3
# Stores here and there: a linear congruential generator picks page and offset.
# next: imul eax, eax, 1103515245 · add eax, 12345 · mov esi, eax · shr esi, 10 · and esi, 0x3fffc ·
# lock add [edi+esi], eax · jmp next
STORE = bytes.fromhex("69c06d4ec641 0539300000 89c6 c1ee0a 81e6fcff0300 f0010437 ebe4")


def copying(engine: str, rounds: int, seed: int, meddle: bool) -> int:
    """Rounds of take-and-copy while vCPUs store; the number of pages that were copied."""
    size, choice, copied = PAGES * PAGE, random.Random(seed), 0
    with VirtualMachine(engine) as vm:
        vm.map(at=0, size=DATA)
        ram = vm.map(at=DATA, size=size)
        vm.write(CODE, STORE)
        copy = bytearray(size)
        log = ram.dirty_log()
        cpus = [started(vm, index) for index in range(VCPUS)]
        if meddle:
            cpus[0].breakpoints.add(4, access="write")  # on KVM that one runs in the software CPU
        threads = Threads()
        for cpu in cpus:
            threads.start(until_kicked, cpu)
        for _ in range(rounds):
            time.sleep(choice.random() / 500)
            for start, length in log.take().runs():
                copied += length // PAGE
                copy[start - DATA : start - DATA + length] = ram[start - DATA : start - DATA + length]
            if meddle and choice.random() < 0.3:
                cut = choice.randrange(PAGES)
                vm.protect(at=DATA + cut * PAGE, size=PAGE, perm=choice.choice([Perm.RW, Perm.RWX]))
            threads.check()
        for cpu in cpus:
            cpu.kick()
        threads.join()
        for start, length in log.take().runs():
            copy[start - DATA : start - DATA + length] = ram[start - DATA : start - DATA + length]
        lost = [n for n in range(PAGES) if copy[n * PAGE : (n + 1) * PAGE] != ram[n * PAGE : (n + 1) * PAGE]]
        assert not lost, f"stores to pages {lost} were not told"
    return copied


def started(vm: VirtualMachine, index: int) -> VCpu:
    cpu = vm.vcpu()
    cpu.enter_protected()
    cpu.regs.rip, cpu.regs.rdi, cpu.regs.rax = CODE, DATA, 77 * index + 1
    return cpu


def until_kicked(cpu: VCpu) -> None:
    stopped = cpu.run()
    assert stopped == Kicked(), stopped


@pytest.mark.parametrize("meddle", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_copy_of_dirty_pages_is_the_memory(engine: str, meddle: bool) -> None:
    assert copying(engine, 40, seed=1, meddle=meddle) > 0


@pytest.mark.slow
@pytest.mark.parametrize("meddle", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_copy_of_dirty_pages_is_the_memory_for_long(engine: str, meddle: bool) -> None:
    for seed in range(20):
        assert copying(engine, 200, seed, meddle) > 0


def test_two_logs_are_taken_by_two_threads() -> None:
    size = PAGES * PAGE
    with VirtualMachine("soft") as vm:
        vm.map(at=0, size=DATA)
        ram = vm.map(at=DATA, size=size)
        vm.write(CODE, STORE)
        cpu, stop, threads = started(vm, 0), threading.Event(), Threads()
        copies = [bytearray(size), bytearray(size)]
        logs = [ram.dirty_log(), ram.dirty_log()]

        def follow(number: int) -> None:
            last = False
            while not last:
                last = stop.is_set()
                for start, length in logs[number].take().runs():
                    at = start - DATA
                    copies[number][at : at + length] = ram[at : at + length]

        threads.start(until_kicked, cpu)
        followers = Threads()
        for number in range(2):
            followers.start(follow, number)
        time.sleep(0.2)
        cpu.kick()
        threads.join()
        stop.set()
        followers.join()
        assert copies[0] == ram[:size]
        assert copies[1] == ram[:size]
