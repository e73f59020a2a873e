"""Code that one vCPU rewrites while others run it: they see every version in order, and the last one soon."""

from __future__ import annotations

import threading
import time

import pytest

from pyhv import Halted, VCpu

from .storms import CODE, DATA, Threads, machine, run_until_told

FUNCTION = 0x2003  # mov eax, imm32 · ret: the number is aligned, so that it changes at once
# next: mov eax, FUNCTION · call eax · cmp eax, ecx · jb bad · mov ecx, eax · mov [edi], eax · jmp next · bad: hlt
READER = bytes.fromhex("b803200000 ffd0 39c8 7206 89c1 8907 ebef f4")
# next: inc edx · mov [0x2004], edx · jmp next
WRITER = bytes.fromhex("42 891504200000 ebf7")
WRITER_AT = 0x1800


def storm(versions: int) -> None:
    stop = threading.Event()
    with machine(READER, 3) as (vm, cpus):
        vm.write(WRITER_AT, WRITER)
        vm.write(FUNCTION, bytes.fromhex("b800000000c3"))
        *readers, writer = cpus
        writer.regs.rip = WRITER_AT
        for cpu in readers:
            cpu.regs.rsp = 0x8000 + 0x1000 * cpu.index

        def bad(cpu: VCpu, stopped: object) -> None:
            assert stopped != Halted(), f"vCPU {cpu.index} ran an older version after a newer one"
            raise AssertionError(stopped)

        threads = Threads()
        for cpu in readers:
            threads.start(run_until_told, cpu, stop, bad)
        writer.run(budget=3 * versions)
        last = writer.regs.rdx
        limit = time.monotonic() + 20
        seen = [0] * len(readers)
        while min(seen) < last and not threads.failures:
            assert time.monotonic() < limit, f"the last version is {last}; {seen} were run"
            seen = [int.from_bytes(vm.read(DATA + 0x1000 * cpu.index, 4), "little") for cpu in readers]
        stop.set()
        for cpu in readers:
            cpu.kick()
        threads.join()
        assert last == versions


def test_two_readers_see_every_version_in_order() -> None:
    assert CODE != FUNCTION & -0x1000 != WRITER_AT & -0x1000
    storm(2_000)


@pytest.mark.slow
def test_two_readers_see_every_version_in_order_for_long() -> None:
    storm(300_000)
