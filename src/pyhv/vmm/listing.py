"""Instructions and registers as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyhv import (
    Exit,
    HvError,
    Instruction,
    InterruptionInfo,
    MmioLoad,
    MonitorTrap,
    PortIn,
    SegmentRegister,
    VCpu,
    Vmcs,
)

_GENERAL = (
    "rax",
    "rbx",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "rbp",
    "rsp",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
)
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
_MASK = (1 << 64) - 1
HISTORY = 16  # instructions shown before the last one
LONG_MODE_ACTIVE = 1 << 10  # in EFER


def linear_rip(cpu: VCpu) -> int:
    """The linear address of the next instruction: CS.base counts outside 64-bit code, where it is 0 anyway."""
    return int(cpu.segments.cs.base + cpu.regs.rip) & _MASK


def instruction_at(cpu: VCpu, gva: int) -> Instruction | None:
    """The instruction there, read in the processor's present mode; None where there is no memory or no meaning."""
    try:
        found = cpu.disassemble(gva, 1)
    except HvError:
        return None
    return found[0] if found else None


def show(cpu: VCpu, gva: int) -> str:
    """One line: address, bytes, text."""
    found = instruction_at(cpu, gva)
    return str(found) if found else f"{gva:#x}: (no instruction can be read here)"


class Tracer:
    """Writes a line for each instruction before it runs, and for each interrupt. `step` in place of `cpu.step`."""

    def __init__(self, cpu: VCpu, write: Callable[[str], object]) -> None:
        self._cpu, self._write = cpu, write
        self._shown = False  # the instruction at RIP has its line; it only goes on

    def step(self) -> Exit:
        """One instruction, or the next part of one that waited for an answer."""
        event = InterruptionInfo(self._cpu.read_vmcs(Vmcs.ENTRY_INTERRUPTION_INFO))
        if event.valid:
            self._write(f"(interrupt {event.vector:#x})")
        elif not self._shown and not self._window_opens():
            self._write(show(self._cpu, linear_rip(self._cpu)))
        exit_ = self._cpu.step()
        if event.valid and isinstance(exit_, MonitorTrap):
            self._write(_last_block(self._cpu))  # the handler's first, which ran in the same step
        self._shown = isinstance(exit_, PortIn | MmioLoad)
        return exit_

    def _window_opens(self) -> bool:
        """Whether the step will say only that an interrupt can be taken."""
        return self._cpu.controls.interrupt_window and self._cpu.interruptible


def _last_block(cpu: VCpu) -> str:
    try:
        return show(cpu, cpu.recent()[-1][0])
    except HvError:
        return "(the first instruction of its handler)"


def history(cpu: VCpu) -> list[str]:
    """The last instructions, oldest first, and at the end the one that the processor is on."""
    now = linear_rip(cpu)
    lines: list[str] = []
    for start, count, bits in _recent(cpu, now):
        if bits == _bits(cpu):
            lines += _straight(cpu, start, count, now)
        else:
            lines.append(f"{start:#x}: ({count} instructions of {bits}-bit code)")
    return [*lines[-HISTORY:], show(cpu, now)]


def _recent(cpu: VCpu, now: int) -> list[tuple[int, int, int]]:
    """(start, instructions, bits) of the last straight pieces; without those at the end that only try `now` again."""
    try:
        pieces = [(start, count, bits) for start, bits, count in cpu.recent()]
    except HvError:
        return []
    while pieces and pieces[-1][0] == now:
        pieces.pop()
    return pieces


def _straight(cpu: VCpu, start: int, count: int, now: int) -> Iterator[str]:
    """The instructions of a straight piece, up to the one that the processor is on."""
    try:
        found = cpu.disassemble(start, count)
    except HvError:
        return
    for instruction in found:
        if instruction.address == now:
            return
        yield str(instruction)


def _bits(cpu: VCpu) -> int:
    rights = cpu.segments.cs.access_rights
    return 64 if rights.l and cpu.msrs["EFER"] & LONG_MODE_ACTIVE else 32 if rights.db else 16


def registers(cpu: VCpu) -> list[str]:
    """General registers, flags by name, segments, control registers, tables: a few lines."""
    long = bool(cpu.msrs["EFER"] & LONG_MODE_ACTIVE)
    return [*_general(cpu, 16 if long else 8), *_flags_and_control(cpu), *_segments(cpu)]


def _general(cpu: VCpu, digits: int) -> Iterator[str]:
    names = _GENERAL if digits == 16 else _GENERAL[:8]
    cells = [f"{_spelled(n, digits):>3} {int(getattr(cpu.regs, n)):0{digits}x}" for n in names]
    for row in range(0, len(cells), 4):
        yield "  ".join(cells[row : row + 4])
    yield f"{_spelled('rip', digits):>3} {int(cpu.regs.rip):0{digits}x}  flags {cpu.regs.rflags!r}"


def _spelled(name: str, digits: int) -> str:
    return name if digits == 16 else "e" + name[1:]


def _flags_and_control(cpu: VCpu) -> Iterator[str]:
    yield f"cr0 {cpu.regs.cr0!r}  cr2 {int(cpu.regs.cr2):#x}  cr3 {int(cpu.regs.cr3):#x}"
    yield f"cr4 {cpu.regs.cr4!r}  efer {int(cpu.msrs['EFER']):#x}"


def _segments(cpu: VCpu) -> Iterator[str]:
    cells = []
    for name in _SEGMENTS:
        segment: SegmentRegister = getattr(cpu.segments, name)
        cells.append(f"{name} {segment.selector:04x} base {segment.base:#x} limit {segment.limit:#x}")
    for row in range(0, len(cells), 2):
        yield "  ".join(f"{cell:<44}" for cell in cells[row : row + 2]).rstrip()
    gdtr, idtr = cpu.segments.gdtr, cpu.segments.idtr
    yield f"gdt {gdtr.base:#x} limit {gdtr.limit:#x}  idt {idtr.base:#x} limit {idtr.limit:#x}"
