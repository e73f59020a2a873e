"""Exits, life cycle and registers, measured through the objects as a program would use them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyhv import MmioLoad, MmioStore, PortIn, PortOut, VCpu, VirtualMachine
from pyhv.framework import intel as hv

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
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
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
    before, start = resident_bytes(), time.process_time()
    for _ in range(rounds):
        one_life(engine)
    seconds = (time.process_time() - start) / rounds
    gc.collect()
    return seconds, resident_bytes() - before


def access_rates(engine: str, count: int) -> Iterator[tuple[str, float]]:
    """Accesses a second from Python, by name: registers and memory by the objects, registers by Apple's functions."""
    with real_mode_cpu(engine, HALT) as cpu:
        regs, vm = cpu.regs, cpu.vm
        ram = vm.map(at=0x10000, size=0x1000)
        eight = bytes(range(8))
        for name, work in {
            "register_read": lambda: regs.rax,
            "register_write": lambda: setattr(regs, "rax", 5),
            "mapping_read": lambda: ram[0x200:0x208],
            "mapping_write": lambda: ram.__setitem__(slice(0x200, 0x208), eight),
            "vm_read": lambda: vm.read(0x2000, 8),
            "vm_write": lambda: vm.write(0x2000, eight),
            "virtual_read": lambda: cpu.read_virtual(0x2000, 8),
            "state_read": lambda: cpu.state,
        }.items():
            yield name, rate_of(work, count if name != "state_read" else count // 50)
    if engine == "soft":  # the functions have an engine of their own
        yield from framework_rates(count)


def rate_of(work: Callable[[], object], count: int) -> float:
    """Calls a second, the call itself and an empty lambda's cost among them; the best of three runs."""

    def loop() -> None:
        for _ in range(count):
            work()

    return count / best_of(3, loop)


def framework_rates(count: int) -> Iterator[tuple[str, float]]:
    """The same by Apple's functions, under their rules."""
    hv.hv_vm_create(hv.HV_VM_DEFAULT)
    try:
        vcpu = hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT)
        yield "hv_register_read", rate_of(lambda: hv.hv_vcpu_read_register(vcpu, hv.HV_X86_RAX), count)
        yield "hv_register_write", rate_of(lambda: hv.hv_vcpu_write_register(vcpu, hv.HV_X86_RAX, 5), count)
        yield "hv_vmcs_read", rate_of(lambda: hv.hv_vmx_vcpu_read_vmcs(vcpu, hv.VMCS_GUEST_RIP), count)
        hv.hv_vcpu_destroy(vcpu)
    finally:
        hv.hv_vm_destroy()


def mapping_bytes_per_second(engine: str) -> float:
    """A mapping of 16 MiB written over from Python at once."""
    size = 16 << 20
    content = bytes(size)
    with VirtualMachine(engine=engine) as vm:
        ram = vm.map(at=0, size=size)

        def write() -> None:
            ram[0:size] = content

        return size / best_of(5, write)
