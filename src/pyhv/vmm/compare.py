"""One image on two engines, instruction by instruction, until they disagree: which of them is wrong is for the reader.

Both get the same bytes, the same CPUID and the same answers, from one board that sees the accesses of the first.
Flags that an instruction leaves undefined do not count. There is no BIOS, no DOS and no interrupt, and time is counted
in steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from pyhv import (
    Exit,
    Halted,
    Mapping,
    MmioLoad,
    MmioStore,
    MonitorTrap,
    MsrRead,
    MsrWrite,
    PortIn,
    PortOut,
    PortOutMany,
    VCpu,
    VirtualMachine,
)

from .boards.pc import Pc
from .console import ByteSink, NoInput
from .flags import undefined_after
from .plan import Plan
from .start import place, start

NS_PER_STEP = 100
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """`steps` were the same on both. `lines`: what differs then, empty when nothing does; `end` says why it ended."""

    steps: int
    end: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    cpu: VCpu
    ram: Sequence[Mapping]


def compare(plan: Plan, engines: Sequence[str], memory_bytes: int, steps: int, sink: ByteSink) -> Comparison:
    """Run `plan` on two engines for at most `steps` instructions. Raises ImageError, HvError where one cannot."""
    with ExitStack() as stack:
        sides: list[_Side] = []
        for engine in reversed(engines):  # the second one's CPUID is the one that both can do
            vm = stack.enter_context(VirtualMachine(engine))
            placed = place(plan, vm, memory_bytes)
            cpu = stack.enter_context(vm.vcpu(cpuid=sides[0].cpu.cpuid if sides else None))
            start(plan, vm, cpu, memory_bytes)
            sides.insert(0, _Side(vm.engine_name, cpu, placed.ram))
        return _Pair(sides[0], sides[1], memory_bytes, sink).run(steps)


class _Pair:
    def __init__(self, one: _Side, other: _Side, memory_bytes: int, sink: ByteSink) -> None:
        self._one, self._other, self._done = one, other, 0
        bits = min(side.cpu.vm.gpa_bits for side in (one, other))
        self._board = Pc(memory_bytes, lambda: self._done * NS_PER_STEP, sink, NoInput(), 1 << bits)
        self._sink = sink

    def run(self, steps: int) -> Comparison:
        lines = self._states()
        while not lines and self._done < steps:
            at = self._one.cpu.segments.cs.base + self._one.cpu.regs.rip
            found, theirs = self._one.cpu.step(), self._other.cpu.step()
            lines = self._exits(found, theirs) or self._states()
            if lines and not self._only_undefined(at):
                text = self._one.cpu.disassemble(at)[:1]
                lines = (f"at {text[0] if text else f'{at:#x}'}:", *lines)
                break
            lines = ()
            self._done += 1
            end = self._answer(found)
            if end:
                return self._result(end, self._memories())
        self._sink.flush()
        return self._result("they differ" if lines else "the limit of steps", lines or self._memories())

    def _result(self, end: str, lines: tuple[str, ...]) -> Comparison:
        self._sink.flush()
        return Comparison(self._done, end, lines)

    def _only_undefined(self, at: int) -> bool:
        """Whether only flags differ that the instruction leaves undefined; then both go on with the first's."""
        mine, theirs = self._one.cpu.regs.rflags, self._other.cpu.regs.rflags
        text = self._one.cpu.disassemble(at)[:1]
        if mine == theirs or not text or (mine ^ theirs) & ~undefined_after(text[0].text):
            return False
        self._other.cpu.regs.rflags = mine
        return not self._states()

    def _exits(self, mine: Exit, theirs: Exit) -> tuple[str, ...]:
        return () if mine == theirs else (f"exit: {mine} -> {theirs}",)

    def _states(self) -> tuple[str, ...]:
        return tuple(self._one.cpu.state.diff(self._other.cpu.state))

    def _memories(self) -> tuple[str, ...]:
        for mine, theirs in zip(self._one.ram, self._other.ram, strict=True):
            for at in range(0, len(mine), _CHUNK):
                a, b = bytes(mine[at : at + _CHUNK]), bytes(theirs[at : at + _CHUNK])
                if a != b:
                    byte = next(n for n, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
                    return (f"memory at gpa {mine.gpa + at + byte:#x}: {a[byte]:#04x} -> {b[byte]:#04x}",)
        return ()

    def _answer(self, found: Exit) -> str | None:
        """Let the board answer once, and both hear it. A text ends it."""
        ports, mmio = self._board.ports, self._board.mmio
        match found:
            case MonitorTrap():
                return None
            case PortOut(port, size, data):
                ports.write(port, size, data)
            case PortOutMany(port, size, many):
                for i in range(0, len(many), size):
                    ports.write(port, size, int.from_bytes(many[i : i + size], "little"))
            case PortIn(port, size, count):
                value = ports.read(port, size)
                self._both(value if count == 1 else value.to_bytes(size, "little"))
            case MmioLoad(gpa, size):
                self._both(mmio.read(gpa, size))
            case MmioStore(gpa, size, value):
                mmio.write(gpa, size, value)
            case MsrRead() | MsrWrite():
                self._one.cpu.refuse()
                self._other.cpu.refuse()
            case Halted():
                return "HLT"
            case _:
                return f"{found}"
        self._board.advance(self._done * NS_PER_STEP)
        return "the guest's own end" if self._board.outcome else None

    def _both(self, value: int | bytes) -> None:
        self._one.cpu.answer(value)
        self._other.cpu.answer(value)
