"""One image on one machine, from the plan to the result: what the command line does, for any program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pyhv import VCpu, VirtualMachine

from .autopsy import what_it_was_at
from .bios.console import KeyConsole
from .bios.personality import OWN_MEMORY, BiosPersonality
from .boards.pc import Pc
from .console import ByteSink, ByteSource
from .counts import require_counting
from .dos import DosKernel, Files
from .dos.personality import DosPersonality
from .limits import Limits, WatchingSink
from .listing import Tracer, history, registers
from .loaders.com import MEMORY_END_SEGMENT, PSP_SEGMENT
from .loop import Run
from .memory import GuestRam
from .outcome import (
    GuestDied,
    GuestExited,
    HaltedForever,
    Interrupted,
    LimitReached,
    NotCarried,
    Outcome,
    TextSeen,
    TimedOut,
)
from .personality import Personality
from .plan import Kind, Mode, Plan
from .screen import Frame, TextScreen
from .start import place, start

DEFAULT_MEMORY = 128 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """`directory` is what DOS programs may read. `on_trace` gets a line before each instruction, `on_slice` the
    instructions (None: not counted) and seconds so far, now and then.

    With `screen` what is typed comes from the keyboard, the result has the last picture, and `on_frame` gets each new
    one, some 20 a second; `limits.until` is looked for on it too.
    """

    engine: str | None = None
    memory_bytes: int = DEFAULT_MEMORY
    limits: Limits = field(default_factory=Limits)
    directory: Path | None = None
    on_trace: Callable[[str], object] | None = None
    on_slice: Callable[[int | None, float], None] | None = None
    screen: bool = False
    on_frame: Callable[[Frame], None] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended and what it took; `instructions` is None where the engine does not count them.

    `registers` and `history` are there when the guest ended badly. `notes` say how it came about, or what the guest was
    at, a line each.
    """

    outcome: Outcome
    engine: str
    instructions: int | None
    seconds: float
    exec_seconds: float
    exits: Mapping[str, int]
    registers: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    screen: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def run(plan: Plan, settings: Settings, sink: ByteSink, source: ByteSource) -> Result:
    """Make a VM, put the plan into it and run it to its end. Raises ImageError, HvError for what cannot be set up."""
    until = settings.limits.until
    watch = WatchingSink(sink, until) if until else None
    with VirtualMachine(_engine(plan, settings)) as vm, Files(settings.directory) as files:
        placed = place(plan, vm, settings.memory_bytes)
        with vm.vcpu() as cpu:
            if settings.limits.instructions is not None:
                require_counting(vm, cpu, "a limit of instructions was asked for")
            start(plan, vm, cpu, settings.memory_bytes)
            board = Pc(
                settings.memory_bytes,
                lambda: vm.clock.now_ns,
                watch or sink,
                source,
                1 << vm.gpa_bits,
                by_keyboard=settings.screen and plan.kind is not Kind.DOS and not _finds_a_bios(plan),
            )
            look = _Look(TextScreen(vm.read, board.crtc), settings, watch) if settings.screen else None
            loop = Run(
                vm,
                cpu,
                board,
                settings.limits,
                personality=_personality(plan, cpu, board, files, settings),
                watch=watch,
                tracer=Tracer(cpu, settings.on_trace) if settings.on_trace else None,
                on_slice=look.slice if look else settings.on_slice,
            )
            outcome = loop.to_the_end()
            lines = look.frame().lines if look else None
            del placed
            return replace(_result(outcome, vm, cpu, loop), screen=lines, notes=_notes(outcome, cpu, board))


def _engine(plan: Plan, settings: Settings) -> str | None:
    """The one that was named; else the best that can do all that is asked for, which may be the software CPU alone."""
    only_soft = settings.limits.instructions is not None or settings.on_trace is not None or plan.kind is Kind.DOS
    return settings.engine or ("soft" if only_soft else None)


class _Look:
    """Looks at the screen between two slices of a run."""

    def __init__(self, screen: TextScreen, settings: Settings, watch: WatchingSink | None) -> None:
        self._screen, self._settings, self._watch = screen, settings, watch
        self._text = (settings.limits.until or b"").decode("utf-8", "replace")
        self._last: Frame | None = None

    def frame(self) -> Frame:
        """What is shown now; told to who wants to know if it is new."""
        frame = self._screen.frame()
        if frame != self._last:
            self._last = frame
            if self._settings.on_frame:
                self._settings.on_frame(frame)
            if self._watch and frame.shows(self._text):
                self._watch.notice()
        return frame

    def slice(self, instructions: int | None, seconds: float) -> None:
        """Called by the loop, some 20 times a second."""
        self.frame()
        if self._settings.on_slice:
            self._settings.on_slice(instructions, seconds)


def _finds_a_bios(plan: Plan) -> bool:
    """Whether the image counts on a BIOS and leaves it room."""
    covered = any(s.gpa < end and start < s.end for s in plan.segments for start, end in OWN_MEMORY)
    return plan.kind in (Kind.FLAT, Kind.BOOT_SECTOR) and plan.mode is Mode.REAL and not covered


def _personality(plan: Plan, cpu: VCpu, board: Pc, files: Files, settings: Settings) -> Personality | None:
    """The system software that the plan counts on: DOS, a BIOS, or none."""
    memory = GuestRam(cpu.vm)
    if plan.kind is Kind.DOS:
        kernel = DosKernel(board.sink, board.source, files, psp=PSP_SEGMENT, memory_end=MEMORY_END_SEGMENT)
        return DosPersonality(kernel, cpu, memory)
    if _finds_a_bios(plan):
        return BiosPersonality(KeyConsole(board.sink, board.source), cpu, memory, settings.memory_bytes)
    return None


def _notes(outcome: Outcome, cpu: VCpu, board: Pc) -> tuple[str, ...]:
    """How the guest's death came about; what a guest was at that somebody else ended; accesses that nobody answered."""
    lines = list(outcome.steps) if isinstance(outcome, GuestDied) else []
    if isinstance(outcome, TimedOut | LimitReached | Interrupted):
        lines.append(what_it_was_at(cpu))
    if not isinstance(outcome, GuestExited | TextSeen):
        lines += [*board.ports.unanswered(), *board.mmio.unanswered()]
    return tuple(lines)


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
