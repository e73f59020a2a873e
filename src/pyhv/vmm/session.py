"""One image on one machine, from the plan to the result: what the command line does, for any program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyhv import VCpu, VirtualMachine

from .bios.console import KeyConsole
from .bios.personality import OWN_MEMORY, BiosPersonality
from .boards.pc import Pc
from .console import ByteSink, ByteSource
from .dos import DosKernel, Files
from .dos.personality import DosPersonality
from .limits import Limits, WatchingSink
from .listing import Tracer, history, registers
from .loaders.com import MEMORY_END_SEGMENT, PSP_SEGMENT
from .loop import Run
from .memory import GuestRam
from .outcome import GuestDied, HaltedForever, NotCarried, Outcome
from .personality import Personality
from .plan import Kind, Mode, Plan
from .start import place, start

DEFAULT_MEMORY = 128 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """`directory` is what DOS programs may read. `on_trace` gets a line before each instruction, `on_slice` the
    instructions and seconds so far, now and then."""

    engine: str | None = None
    memory_bytes: int = DEFAULT_MEMORY
    limits: Limits = field(default_factory=Limits)
    directory: Path | None = None
    on_trace: Callable[[str], object] | None = None
    on_slice: Callable[[int, float], None] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended and what it took. `registers` and `history` are there when the guest ended badly."""

    outcome: Outcome
    engine: str
    instructions: int
    seconds: float
    exec_seconds: float
    exits: Mapping[str, int]
    registers: tuple[str, ...] = ()
    history: tuple[str, ...] = ()


def run(plan: Plan, settings: Settings, sink: ByteSink, source: ByteSource) -> Result:
    """Make a VM, put the plan into it and run it to its end. Raises ImageError, HvError for what cannot be set up."""
    until = settings.limits.until
    watch = WatchingSink(sink, until) if until else None
    with VirtualMachine(settings.engine) as vm, Files(settings.directory) as files:
        placed = place(plan, vm, settings.memory_bytes)
        with vm.vcpu() as cpu:
            start(plan, vm, cpu, settings.memory_bytes)
            board = Pc(settings.memory_bytes, lambda: vm.clock.now_ns, watch or sink, source, 1 << vm.gpa_bits)
            loop = Run(
                vm,
                cpu,
                board,
                settings.limits,
                personality=_personality(plan, cpu, board, files, settings),
                watch=watch,
                tracer=Tracer(cpu, settings.on_trace) if settings.on_trace else None,
                on_slice=settings.on_slice,
            )
            outcome = loop.to_the_end()
            del placed
            return _result(outcome, vm, cpu, loop)


def _personality(plan: Plan, cpu: VCpu, board: Pc, files: Files, settings: Settings) -> Personality | None:
    """The system software that the plan counts on: DOS, a BIOS where the image leaves it room, or none."""
    memory = GuestRam(cpu.vm)
    if plan.kind is Kind.DOS:
        kernel = DosKernel(board.sink, board.source, files, psp=PSP_SEGMENT, memory_end=MEMORY_END_SEGMENT)
        return DosPersonality(kernel, cpu, memory)
    covered = any(s.gpa < end and start < s.end for s in plan.segments for start, end in OWN_MEMORY)
    if plan.kind in (Kind.FLAT, Kind.BOOT_SECTOR) and plan.mode is Mode.REAL and not covered:
        return BiosPersonality(KeyConsole(board.sink, board.source), cpu, memory, settings.memory_bytes)
    return None


def _result(outcome: Outcome, vm: VirtualMachine, cpu: VCpu, loop: Run) -> Result:
    bad = isinstance(outcome, GuestDied | HaltedForever | NotCarried)
    return Result(
        outcome,
        vm.engine_name,
        loop.instructions,
        loop.seconds,
        cpu.exec_time_ns / 1e9,
        loop.exits,
        tuple(registers(cpu)) if bad else (),
        tuple(history(cpu)) if bad else (),
    )
