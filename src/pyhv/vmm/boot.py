"""One operating system on one machine, from the plan to the result: what `hv boot` does, for any program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from pyhv import Unsupported, VCpu, VirtualMachine

from .boards.pc_apic import ACPI_AT, PcApic
from .console import ByteSink, PumpedSource
from .counts import executed
from .disk import Disk
from .dma import Dma
from .limits import Limits, PanicSink, WatchingSink
from .listing import history, registers
from .outcome import GuestDied, HaltedForever, NotCarried, Outcome
from .parallel import ParallelRun
from .plan import Plan
from .profile import Profile
from .start import place, start
from .turns import TurnsRun

DEFAULT_MEMORY = 256 << 20
CPUS_MAX = 64
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DiskSetting:
    """One `--disk`."""

    path: Path
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class BootSettings:
    """`virtio_input`: what is typed goes to the virtio console instead of COM1. `on_slice` gets 0 and the seconds.

    With `ns_per_instruction` > 0 the machine's time is counted in instructions, its clock starts at `EPOCH` and its
    randomness at a fixed seed: two runs are the same. `limits.instructions` counts only then.
    """

    engine: str | None = None
    memory_bytes: int = DEFAULT_MEMORY
    cpus: int = 1
    disks: Sequence[DiskSetting] = ()
    limits: Limits = field(default_factory=Limits)
    virtio_input: bool = False
    profile: bool = False
    ns_per_instruction: float = 0.0
    on_slice: Callable[[int | None, float], None] | None = None


@dataclass(frozen=True, slots=True)
class BootResult:
    """How it ended and what it took. `registers` and `history` are there when the guest ended badly."""

    outcome: Outcome
    engine: str
    instructions: int | None  # None: the engine does not count them
    seconds: float
    exec_seconds: float
    exits: Mapping[str, int]
    registers: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    profile: tuple[tuple[str, int, float], ...] = ()
    inside: Mapping[str, int] = field(default_factory=dict)  # the engine's own counters, of all vCPUs together


def boot(plan: Plan, settings: BootSettings, sink: ByteSink, source: PumpedSource) -> BootResult:
    """Make the machine, put the plan into it and run it to its end.

    Raises ImageError, DiskError, OSError and HvError for what cannot be set up.
    """
    until = settings.limits.until
    panic = PanicSink(sink)
    watch = WatchingSink(panic, until) if until else None
    with ExitStack() as stack:
        disks = [stack.enter_context(Disk(each.path, read_only=each.read_only)) for each in settings.disks]
        counted = settings.ns_per_instruction > 0
        vm = VirtualMachine(settings.engine, apic=True, ns_per_instruction=settings.ns_per_instruction)
        stack.enter_context(vm)
        placed = place(plan, vm, settings.memory_bytes)
        dma = Dma(vm, placed.ram)
        stack.callback(dma.release)
        cpus = [stack.enter_context(vm.vcpu()) for _ in range(settings.cpus)]
        board = PcApic(
            vm,
            dma,
            settings.memory_bytes,
            watch or panic,
            source,
            cpus=settings.cpus,
            disks=disks,
            virtio_input=settings.virtio_input,
            started=EPOCH if counted else None,
            random_bytes=Random(0).randbytes if counted else None,
        )
        vm.write(ACPI_AT, board.acpi_tables())
        start(plan, vm, cpus[0], settings.memory_bytes, rsdp_at=ACPI_AT, screen=False)
        profile = Profile(board.ports, board.mmio) if settings.profile else None
        run: ParallelRun | TurnsRun = (
            TurnsRun(vm, cpus, board, settings.limits, watch=watch, panic=panic)
            if counted
            else ParallelRun(
                vm,
                cpus,
                board,
                settings.limits,
                source,
                watch=watch,
                panic=panic,
                on_slice=settings.on_slice,
                profile=profile,
            )
        )
        outcome = run.to_the_end()
        return _result(outcome, vm, cpus, run, profile)


def _result(
    outcome: Outcome, vm: VirtualMachine, cpus: Sequence[VCpu], run: ParallelRun | TurnsRun, profile: Profile | None
) -> BootResult:
    bad = isinstance(outcome, GuestDied | HaltedForever | NotCarried)
    return BootResult(
        outcome,
        vm.engine_name,
        executed(cpus),
        run.seconds,
        sum(cpu.exec_time_ns for cpu in cpus) / 1e9,
        run.exits,
        tuple(registers(cpus[0])) if bad else (),
        tuple(history(cpus[0])) if bad else (),
        tuple(profile.table()) if profile else (),
        _inside(cpus) if profile else {},
    )


def _inside(cpus: Sequence[VCpu]) -> dict[str, int]:
    """What the engine counts beside instructions; nothing where it keeps no counters."""
    total: Counter[str] = Counter(idle_ns=sum(cpu.idle_time_ns for cpu in cpus))
    try:
        for cpu in cpus:
            total.update(cpu.stats())
    except Unsupported:
        return {}
    return dict(total)
