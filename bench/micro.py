"""Exits, life cycle and registers, measured through the objects as a program would use them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyhv import MmioLoad, MmioStore, PortIn, PortOut, VCpu, VirtualMachine

# 16-bit guests; each leaves once a turn and loops for ever.
PORT_OUT = bytes.fromhex("BAF803 EE EBFD")  # mov dx, 0x3f8 · out dx, al · jmp back
PORT_IN = bytes.fromhex("BAF803 EC EBFD")  # mov dx, 0x3f8 · in al, dx · jmp back
MMIO_STORE = bytes.fromhex("B800B8 8ED8 A20000 EBFB")  # mov ax, 0xb800 · mov ds, ax · mov [0], al · jmp back
MMIO_LOAD = bytes.fromhex("B800B8 8ED8 A00000 EBFB")  # … mov al, [0] · jmp back
HALT = b"\xf4"
ENTRY = 0x1000
LIFE_BYTES = 64 << 20


class Unexpected(SystemExit):
    """A guest left in another way than its code can; measuring on would measure something else."""

    def __init__(self, stopped: object) -> None:
        super().__init__(f"bench: unexpected exit {stopped}")


@contextmanager
def real_mode_cpu(engine: str, code: bytes) -> Iterator[VCpu]:
    """A vCPU about to run `code` in real mode, with 64 KiB of RAM."""
    with VirtualMachine(engine=engine) as vm:
        ram = vm.map(at=0, size=0x10000)
        ram[ENTRY : ENTRY + len(code)] = code
        with vm.vcpu() as cpu:
            cpu.regs.rip = ENTRY
            yield cpu


def port_outs(cpu: VCpu, count: int) -> None:
    """The loop that the promise is about: run, match, go on."""
    for _ in range(count):
        match cpu.run():
            case PortOut(port=0x3F8):
                pass
            case stopped:
                raise Unexpected(stopped)


def port_ins(cpu: VCpu, count: int) -> None:
    """Each is answered."""
    for _ in range(count):
        match cpu.run():
            case PortIn():
                cpu.answer(0x41)
            case stopped:
                raise Unexpected(stopped)


def mmio_stores(cpu: VCpu, count: int) -> None:
    """Stores to a page that nothing backs."""
    for _ in range(count):
        match cpu.run():
            case MmioStore(gpa=0xB8000):
                pass
            case stopped:
                raise Unexpected(stopped)


def mmio_loads(cpu: VCpu, count: int) -> None:
    """Loads from a page that nothing backs, each answered."""
    for _ in range(count):
        match cpu.run():
            case MmioLoad(gpa=0xB8000):
                cpu.answer(0x41)
            case stopped:
                raise Unexpected(stopped)


EXITS: dict[str, tuple[bytes, Callable[[VCpu, int], None]]] = {
    "port_out": (PORT_OUT, port_outs),
    "port_in": (PORT_IN, port_ins),
    "mmio_store": (MMIO_STORE, mmio_stores),
    "mmio_load": (MMIO_LOAD, mmio_loads),
}


def exit_rate(engine: str, name: str, count: int) -> float:
    """Exits a second, the best of five runs of `count`."""
    code, loop = EXITS[name]
    with real_mode_cpu(engine, code) as cpu:
        return count / best_of(5, lambda: loop(cpu, count))


def best_of(times: int, work: Callable[[], None]) -> float:
    """Seconds of the fastest of several runs."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def one_life(engine: str) -> None:
    """Create a VM, map 64 MiB, run to the first exit, destroy it all."""
    with VirtualMachine(engine=engine) as vm:
        ram = vm.map(at=0, size=LIFE_BYTES)
        ram[ENTRY] = HALT[0]
        with vm.vcpu() as cpu:
            cpu.regs.rip = ENTRY
            cpu.run()


def resident_bytes() -> int:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def lives(engine: str, rounds: int) -> tuple[float, int]:
    """Seconds a life (mean), and by how many bytes the process has grown over `rounds` lives, garbage collected."""
    for _ in range(min(rounds, 200)):  # allocators and caches settle first
        one_life(engine)
    gc.collect()
    before, start = resident_bytes(), time.perf_counter()
    for _ in range(rounds):
        one_life(engine)
    seconds = (time.perf_counter() - start) / rounds
    gc.collect()
    return seconds, resident_bytes() - before


def register_rates(engine: str, count: int) -> tuple[float, float]:
    """Reads and writes of one register a second, as attributes of `cpu.regs`."""
    with real_mode_cpu(engine, HALT) as cpu:
        regs = cpu.regs

        def read() -> None:
            for _ in range(count):
                regs.rax  # noqa: B018 - the access is what is measured

        def write() -> None:
            for value in range(count):
                regs.rax = value

        return count / best_of(3, read), count / best_of(3, write)
