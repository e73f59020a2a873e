"""The workloads of loops.c and vectors.c, in the guest, on the host and in Unicorn: the same machine code.

Times are CPU seconds of this process: what else the machine does counts less.
"""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from pyhv import Halted, Mapping, PortOut, Segment, VCpu, VirtualMachine

HERE = Path(__file__).parent
# Code that needs no loader: no relocation, no calls to memset and the like.
CFLAGS = (
    "-O2 -ffreestanding -nostdlib -shared -fPIC -fvisibility=default -fno-stack-protector -fcf-protection=none "
    "-fno-tree-loop-distribute-patterns -fno-inline -fno-optimize-sibling-calls -Wl,-Bsymbolic"
).split()
SOURCES = {"loops.c": ("-mgeneral-regs-only",), "vectors.c": ("-msse2", "-mno-avx", "-ffp-contract=off")}

TABLES, HALT, STACK, CODE, MEMORY = 0x1000, 0x8000, 0x80000, 0x100000, 0x200000
RAM_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop and how far it goes: `n` for a measurement, at least 20 ms on the host; `quick_n` for a look.

    `unicorn_n`: where Unicorn would take minutes for `n`; its time is then taken in proportion.
    """

    name: str
    n: int
    quick_n: int
    source: str = "loops.c"
    unicorn_n: int | None = None

    @property
    def with_sse2(self) -> bool:
        """Whether the guest's processor has to have SSE2."""
        return self.source == "vectors.c"


LOOPS = (
    Loop("sum_loop", 20_000_000, 1_000_000),
    Loop("sieve", 12 << 20, 400_000),
    Loop("fib", 35, 24),
    Loop("sort", 300_000, 20_000),
    Loop("sha256", 40_000, 1_000),
    Loop("quicksort", 400_000, 20_000),
    Loop("bytecode", 6_000_000, 100_000),
    Loop("chase", 3_000_000, 500_000),
    Loop("copy", 1500, 10, unicorn_n=10),
    Loop("matmul", 300, 2, "vectors.c"),
    Loop("mandelbrot", 450, 40, "vectors.c"),
    Loop("vector_copy", 1200, 10, "vectors.c"),
)
SSE2 = 1 << 26  # of EDX, CPUID leaf 1
OSFXSR = 1 << 9  # of CR4: SSE is on


@dataclass(frozen=True, slots=True)
class Guest:
    """A vCPU in 64-bit mode, its RAM, and where each loop lies."""

    cpu: VCpu
    ram: Mapping
    entries: dict[str, int]

    def prepare(self, function: str, memory: int, n: int) -> None:
        """About to call a loop by the System V convention, with a HLT to return to (at CPL 3 an OUT)."""
        regs = self.cpu.regs
        self.ram[STACK - 8 : STACK] = struct.pack("<Q", HALT)
        regs.rip, regs.rdi, regs.rsi, regs.rsp = self.entries[function], memory, n, STACK - 8

    def call(self, function: str, memory: int, n: int) -> int:
        """Calls a loop; its RAX."""
        regs = self.cpu.regs
        self.prepare(function, memory, n)
        stopped = self.cpu.run()
        if not isinstance(stopped, Halted | PortOut):
            raise SystemExit(f"bench: {function} ended with {stopped} at RIP {regs.rip:#x}")
        return regs.rax


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What one loop did: instructions by the vCPU's own count, seconds in the guest, on the host, in Unicorn.

    The first two are None where the guest's processor lacks what the loop needs.
    """

    instructions: int | None
    guest_s: float | None
    native_s: float
    unicorn_s: float | None


def c_compiler() -> str:
    """Where it is."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise SystemExit("bench: needs a C compiler for its C programs: apt-get install gcc")
    return compiler


def compile_loops(folder: Path) -> dict[str, Path]:
    """The shared objects by source, made in `folder`."""
    compiler, made = c_compiler(), {}
    for source, flags in SOURCES.items():
        made[source] = (folder / source).with_suffix(".so")
        subprocess.run([compiler, *CFLAGS, *flags, "-o", str(made[source]), str(HERE / source)], check=True)
    return made


def has_sse2(cpu: VCpu) -> bool:
    """Whether the guest's processor announces it."""
    return any(leaf.leaf == 1 and leaf.edx & SSE2 for leaf in cpu.cpuid)


def page_tables(user: bool = False) -> bytes:
    """PML4, one PDPT, one page directory: the first GiB, identity, in 2 MiB pages."""
    rights, large = 7 if user else 3, 0x80
    pml4 = struct.pack("<Q", TABLES + 0x1000 | rights).ljust(0x1000, b"\0")
    pdpt = struct.pack("<Q", TABLES + 0x2000 | rights).ljust(0x1000, b"\0")
    return pml4 + pdpt + struct.pack("<512Q", *(i << 21 | rights | large for i in range(512)))


def load(elf: Path, write: Callable[[int, bytes], None]) -> dict[str, int]:
    """Puts the code where guests expect it; where each function lies."""
    with elf.open("rb") as file:
        image = ELFFile(file)
        for segment in (s for s in image.iter_segments() if s["p_type"] == "PT_LOAD"):
            write(CODE + segment["p_vaddr"], segment.data())
        return {
            symbol.name: CODE + symbol["st_value"] for symbol in image.get_section_by_name(".dynsym").iter_symbols()
        }


@contextmanager
def long_mode_guest(elf: Path, engine: str, user: bool = False) -> Iterator[Guest]:
    """A guest with the loops loaded; `user`: at CPL 3, with I/O privilege."""
    with VirtualMachine(engine=engine) as vm:
        ram = vm.map(at=0, size=RAM_BYTES)
        tables = page_tables(user)
        ram[TABLES : TABLES + len(tables)] = tables
        ram[HALT : HALT + 2] = b"\xe6\x80" if user else b"\xf4\x90"
        entries = load(elf, vm.write)
        with vm.vcpu() as cpu:
            cpu.enter_long(TABLES)
            cpu.regs.cr4 = int(cpu.regs.cr4) | OSFXSR
            if user:
                enter_user(cpu)
            yield Guest(cpu, ram, entries)


def enter_user(cpu: VCpu) -> None:
    """From flat 64-bit code at CPL 0 to the same at CPL 3."""
    segments = cpu.segments
    segments.cs = Segment(0x0B, 0, 0xFFFF_FFFF, 0xA0FB)
    for name in ("ss", "ds", "es"):
        setattr(segments, name, Segment(0x13, 0, 0xFFFF_FFFF, 0xC0F3))
    cpu.regs.rflags = cpu.regs.rflags.replace(iopl=3)


def unicorn_run(elf: Path, loop: Loop, n: int) -> tuple[int, float] | None:
    """The loop in Unicorn: its result and seconds. None where the package `unicorn` is not installed."""
    try:
        import unicorn  # noqa: PLC0415 - compared with where it is installed, needed by nothing
        from unicorn import x86_const  # noqa: PLC0415
    except ImportError:
        return None
    machine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    machine.mem_map(0, RAM_BYTES)
    entries = load(elf, machine.mem_write)
    machine.mem_write(STACK - 8, struct.pack("<Q", HALT))
    for register, value in (("RDI", MEMORY), ("RSI", n), ("RSP", STACK - 8)):
        machine.reg_write(getattr(x86_const, f"UC_X86_REG_{register}"), value)
    start = time.process_time()
    machine.emu_start(entries[loop.name], HALT)
    return machine.reg_read(x86_const.UC_X86_REG_RAX), time.process_time() - start


def stepped_instructions(elf: Path, engine: str, loop: Loop, n: int) -> tuple[int, int]:
    """A short run twice: the vCPU's count, and how many times `step()` had to be called."""
    with long_mode_guest(elf, engine) as guest:
        guest.call(loop.name, MEMORY, n)
        counted = guest.cpu.instructions
    with long_mode_guest(elf, engine) as guest:
        guest.prepare(loop.name, MEMORY, n)
        steps = 1
        while guest.cpu.step() != Halted():
            steps += 1
    return counted, steps


def native_run(elf: Path, loop: Loop, n: int) -> tuple[int, float]:
    """The loop on the host: its result, and the best of three times in seconds."""
    function = getattr(ctypes.CDLL(str(elf)), loop.name)
    function.restype, function.argtypes = ctypes.c_uint64, (ctypes.c_void_p, ctypes.c_uint64)
    memory = (ctypes.c_uint8 * RAM_BYTES)()
    best, result = float("inf"), 0
    for _ in range(3):
        start = time.process_time()
        result = function(ctypes.addressof(memory), n)
        best = min(best, time.process_time() - start)
    return result, best


def run_loops(made: dict[str, Path], engine: str, quick: bool) -> Iterator[tuple[Loop, LoopResult]]:
    """Runs each loop in the guest and on the host, and holds the two results against each other."""
    for loop in LOOPS:
        elf, n = made[loop.source], loop.quick_n if quick else loop.n
        expected, native_s = native_run(elf, loop, n)
        count, guest_s = guest_run(elf, engine, loop, n, expected)
        yield loop, LoopResult(count, guest_s, native_s, unicorn_time(elf, loop, n, expected))


def unicorn_time(elf: Path, loop: Loop, n: int, expected: int) -> float | None:
    """Unicorn's seconds for `n`; its result has to be that of the host."""
    short = min(n, loop.unicorn_n or n)
    if short != n:
        expected, _ = native_run(elf, loop, short)
    found = unicorn_run(elf, loop, short)
    if found and found[0] != expected:
        raise SystemExit(f"bench: {loop.name}({short}) gave {found[0]:#x} in Unicorn, {expected:#x} on the host")
    return found[1] * n / short if found else None


def guest_run(elf: Path, engine: str, loop: Loop, n: int, expected: int) -> tuple[int | None, float | None]:
    """Instructions and the better of two times in seconds; None where the guest's processor lacks SSE2 for it."""
    best, count = float("inf"), 0
    for _ in range(2):
        with long_mode_guest(elf, engine) as guest:
            if loop.with_sse2 and not has_sse2(guest.cpu):
                return None, None
            before, start = guest.cpu.instructions, time.process_time()
            got = guest.call(loop.name, MEMORY, n)
            best = min(best, time.process_time() - start)
            count = guest.cpu.instructions - before
        if got != expected:
            raise SystemExit(f"bench: {loop.name}({n}) gave {got:#x} in the guest, {expected:#x} on the host")
    return count, best
