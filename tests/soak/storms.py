"""Guests and helpers of the storms: small programs in flat protected mode, and threads whose failures are ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyhv import Kicked, VCpu, VirtualMachine

CODE, DATA, PAGE = 0x1000, 0x10_0000, 0x1000
JOIN_SECONDS = 60
SPIN = bytes.fromhex("ebfe")


class Threads:
    """Threads that are joined, and whose first exception is raised where they are joined."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self.failures: list[BaseException] = []

    def start(self, target: Callable[..., None], *arguments: object) -> None:
        def guarded() -> None:
            try:
                target(*arguments)
            except BaseException as failure:
                self.failures.append(failure)

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
            assert not thread.is_alive(), "a thread hangs"
        self.check()

    def check(self) -> None:
        """Raise what a thread has raised."""
        if self.failures:
            raise self.failures[0]


@contextmanager
def machine(program: bytes, vcpus: int, ram_bytes: int = 4 << 20) -> Iterator[tuple[VirtualMachine, list[VCpu]]]:
    """A VM whose vCPUs all begin with `program`; EBX is the vCPU's index, EDI its own page from DATA on."""
    with VirtualMachine("soft") as vm:
        vm.map(at=0, size=ram_bytes)
        vm.write(CODE, program)
        cpus = []
        for index in range(vcpus):
            cpu = vm.vcpu()
            cpu.enter_protected()
            cpu.regs.rip, cpu.regs.rbx, cpu.regs.rdi = CODE, index, DATA + index * PAGE
            cpus.append(cpu)
        yield vm, cpus


def run_until_told(cpu: VCpu, stop: threading.Event, handle: Callable[[VCpu, object], None]) -> None:
    """Run and let `handle` answer what is not a kick, until a kick finds `stop` set."""
    while True:
        stopped = cpu.run()
        if not isinstance(stopped, Kicked):
            handle(cpu, stopped)
        elif stop.is_set():
            return


def refuse(cpu: VCpu, stopped: object) -> None:
    """For guests that have no reason to leave."""
    raise AssertionError(f"vCPU {cpu.index} left with {stopped}")
