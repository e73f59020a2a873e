"""The engine `kvm`: its exits beside a bare loop of KVM_RUN, its lives, and user-mode code beside the host's own."""

from __future__ import annotations

import math
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import addressof, c_char
from fcntl import ioctl
from pathlib import Path
from struct import pack_into

from pyhv.engines.kvm import abi
from pyhv.engines.kvm.abi import Ioctl
from pyhv.engines.kvm.system import DEVICE

from . import guest, micro
from .figures import Figure, at_least, at_most

OF_BARE = 80.0
"""Percent of the bare loop's rate that is promised; 95 is the aim."""
SLOWDOWN = 1.2
RAM_BYTES = 0x10000
RFLAGS = 2


def port_outs_until(cpu: micro.VCpu, count: int) -> None:
    """As a monitor runs: each time with a deadline, here one that does not come."""
    until = cpu.vm.clock.now_ns + 3600 * 10**9
    for _ in range(count):
        match cpu.run(deadline_ns=until):
            case micro.PortOut(port=0x3F8):
                pass
            case stopped:
                raise micro.Unexpected(stopped)


EXITS = micro.EXITS | {"port_out_until": (micro.PORT_OUT, port_outs_until)}


def measure_exits(engine: str, quick: bool) -> Iterator[Figure]:
    """Each kind of exit: its rate, and that rate beside the same guest under `ioctl(vcpu, KVM_RUN)` alone."""
    count, rounds = (400, 5) if quick else (5_000, 15)
    for name, (code, loop) in EXITS.items():
        ours, bare = exit_seconds(engine, code, loop, count, rounds)
        yield at_least(f"kvm.{name}", count / ours, "exits/s")
        yield at_least(f"kvm.{name}.of_bare", 100 * bare / ours, "%", OF_BARE)


def measure_lives(engine: str, quick: bool) -> Iterator[Figure]:
    """Create, map 64 MiB, first exit, destroy."""
    seconds, _ = micro.lives(engine, 20 if quick else 200)
    yield Figure("kvm.life", seconds * 1e6, "us")


def measure_loops(engine: str, quick: bool) -> Iterator[Figure]:
    """The workloads in user mode: how many times the host's own time they take."""
    slowdowns = []
    with tempfile.TemporaryDirectory() as folder:
        made = guest.compile_loops(Path(folder))
        for loop in guest.LOOPS:
            elf, n = made[loop.source], loop.quick_n if quick else loop.n
            expected, native_s = guest.native_run(elf, loop, n)
            slowdowns.append(user_seconds(elf, engine, loop, n, expected) / native_s)
            yield Figure(f"kvm.{loop.name}.slowdown", slowdowns[-1], "x")
    yield at_most("kvm.loops.slowdown", math.exp(statistics.fmean(map(math.log, slowdowns))), "x", SLOWDOWN)


def exit_seconds(
    engine: str, code: bytes, loop: Callable[[micro.VCpu, int], None], count: int, rounds: int
) -> tuple[float, float]:
    """Seconds for `count` exits by the engine and by the bare loop, in turns; the best of each."""
    ours = bare = math.inf
    with micro.real_mode_cpu(engine, code) as cpu, bare_vcpu(code) as fd:
        for _ in range(rounds):
            bare = min(bare, seconds_of(lambda: bare_runs(fd, count)))
            ours = min(ours, seconds_of(lambda: loop(cpu, count)))
    return ours, bare


def seconds_of(work: Callable[[], None]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def bare_runs(fd: int, count: int) -> None:
    """What no program on KVM can do without."""
    run = int(Ioctl.RUN)
    for _ in range(count):
        ioctl(fd, run, 0)


@contextmanager
def bare_vcpu(code: bytes) -> Iterator[int]:
    """The file descriptor of a vCPU in real mode about to run `code`, made without the engine."""
    memory = mmap.mmap(-1, RAM_BYTES)
    memory[micro.ENTRY : micro.ENTRY + len(code)] = code
    host = addressof(c_char.from_buffer(memory))
    fds = [os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)]
    try:
        fds.append(vm := ioctl(fds[0], Ioctl.CREATE_VM, 0))
        ioctl(vm, Ioctl.SET_USER_MEMORY_REGION, abi.USER_MEMORY_REGION.pack(0, 0, 0, RAM_BYTES, host))
        fds.append(vcpu := ioctl(vm, Ioctl.CREATE_VCPU, 0))
        system = bytearray(abi.SREGS2.size)
        ioctl(vcpu, Ioctl.GET_SREGS2, system)
        pack_into("<QIH", system, 0, 0, 0xFFFF, 0)  # CS, the first of them
        ioctl(vcpu, Ioctl.SET_SREGS2, system)
        ioctl(vcpu, Ioctl.SET_REGS, abi.REGS.pack(*[0] * 16, micro.ENTRY, RFLAGS))
        yield vcpu
    finally:
        for fd in reversed(fds):
            os.close(fd)


def user_seconds(elf: Path, engine: str, loop: guest.Loop, n: int, expected: int) -> float:
    """The best of three runs at CPL 3."""
    best = math.inf
    with guest.long_mode_guest(elf, engine, user=True) as made:
        for _ in range(3):
            start = time.process_time()
            got = made.call(loop.name, guest.MEMORY, n)
            best = min(best, time.process_time() - start)
            if got != expected:
                raise SystemExit(f"bench: {loop.name}({n}) gave {got:#x} on kvm, {expected:#x} on the host")
    return best
