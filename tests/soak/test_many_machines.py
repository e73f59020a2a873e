"""VMs made and destroyed in threads, and what is left of them: nothing."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from pyhv import Halted, PortOut

from .storms import Threads, machine

PROGRAM = bytes.fromhex("8807 66ba f803 ee f4".replace(" ", ""))  # mov [edi], al · mov dx, 0x3f8 · out dx, al · hlt


def live_and_die(count: int, number: int) -> None:
    for round_number in range(count):
        with machine(PROGRAM, 1 + round_number % 3, ram_bytes=2 << 20) as (vm, cpus):
            for cpu in cpus:
                cpu.regs.rax = round_number + number & 0xFF
                stopped = cpu.run()
                assert isinstance(stopped, PortOut), stopped
                assert stopped.data == round_number + number & 0xFF
                assert cpu.run() == Halted()
                assert vm.read(cpu.regs.rdi, 1)[0] == stopped.data


def mappings_of_this_process() -> int:
    gc.collect()
    return len(Path("/proc/self/maps").read_text().splitlines())


def lives(total: int, threads: int) -> None:
    live_and_die(5, 0)  # what is made once is made
    before = mappings_of_this_process()
    crowd = Threads()
    for number in range(threads):
        crowd.start(live_and_die, total // threads, number)
    crowd.join()
    left = mappings_of_this_process() - before
    assert left <= 8 * threads, f"{left} mappings are left of {total} machines"  # threads' stacks and heaps stay


def test_100_machines_in_4_threads() -> None:
    lives(100, 4)


@pytest.mark.slow
def test_1_000_machines_in_8_threads() -> None:
    lives(1_000, 8)
