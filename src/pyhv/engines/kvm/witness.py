"""Which of several instructions explains what KVM reported: a software CPU executes each, and can change nothing.

It is one of the objects' face on the same memory, all of it read-only: a store is an exit, never done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...exits import Exit, Halted, MmioLoad, MmioStore, PortIn, PortOut, PortOutMany
from .behind import RCX, RF, RFLAGS, RIP, Before
from .state import GENERAL_ORDER, System, set_general

if TYPE_CHECKING:
    from .vm import KvmVm, Seat

_ARITHMETIC: Final = 0x8D5  # CF, PF, AF, ZF, SF, OF: an emulator may leave other ones where the manual says undefined
_MOST_PIECES: Final = 128
_POSTED: Final = (MmioStore, PortOut, PortOutMany)


class Witness:
    """That CPU, for one vCPU."""

    def __init__(self, vm: KvmVm, seat: Seat) -> None:
        self.cpu = cpu = _silicon.Cpu(vm.memory.read_only(), vm.silicon_clock, 0, False)
        self._system = System(seat.fd, cpu, vm.msrs, seat.run)
        self._segments = b""
        self._has_rest = self._spoiled = False
        self.pieces = 0  # that the instruction had which was found to explain something last

    def see(self, segments: bytes) -> None:
        """Take segments, tables and control registers, as KVM has them."""
        self._has_rest = False
        if segments != self._segments:
            self._segments = segments
            self._spoiled = True

    def see_rest(self) -> None:
        """Take all other state too, but the general registers."""
        self._has_rest = self._spoiled = True

    def _mend(self) -> None:
        self._spoiled = False
        self._system.load_segments(self._segments)
        if self._has_rest:
            self._system.pull_rest()

    def explains(self, before: Before, found: Exit, after: tuple[int, ...]) -> bool:
        """Whether an instruction that begins so makes this exit, and leaves these registers.

        Of several stores KVM may tell the last one alone, so any of them will do.
        """
        start = list(before.general)
        if before.repeats:
            start[RCX] = 1
        told = [self._step(start)]
        for _ in range(_MOST_PIECES):
            if not isinstance(told[-1], _POSTED) or not self.cpu.read_unfinished():
                break
            further = self.cpu.finish()
            if further is None:
                break
            told.append(further)
        self._spoiled = not isinstance(told[-1], _POSTED)  # it may have changed segments
        right = any(_same(one, found) for one in told) and self._leaves(before, start, after)
        if right:
            self.pieces = len(told)
        return right

    def tears(self, before: Before, found: MmioStore) -> bool:
        """Whether it first reads what it stores to, and that was memory a moment ago: KVM has read it, and could not
        write it. Nobody can tell any more what it read."""
        self._spoiled = True
        told = self._step(list(before.general))
        if not isinstance(told, MmioLoad) or (told.gpa, told.size_bytes) != (found.gpa, found.size_bytes):
            return False
        further = self._finish()
        return isinstance(further, MmioStore) and (further.gpa, further.size_bytes) == (found.gpa, found.size_bytes)

    def stores(self, general: tuple[int, ...]) -> list[tuple[int, int]]:
        """What the instruction at RIP stores when it is answered zeros: GPA and bytes. Of a REP its first iteration."""
        start = list(general)
        start[RCX] = 1
        self._spoiled = True
        found: Exit | None = self._step(start)
        stored = []
        for _ in range(_MOST_PIECES):
            if isinstance(found, MmioStore):
                stored.append((int(found.gpa), found.size_bytes))
            if not self.cpu.read_unfinished() and not self.cpu.unanswered:
                break
            found = self._finish()
        return stored

    def _step(self, general: list[int]) -> Exit:
        if self._spoiled:
            self._mend()
        set_general(self.cpu, general)  # forgets what was not finished, with RIP
        return self.cpu.step()

    def _finish(self) -> Exit | None:
        if self.cpu.unanswered:
            self.cpu.answer(0)
        return self.cpu.finish()

    def _leaves(self, before: Before, start: list[int], after: tuple[int, ...]) -> bool:
        wanted = list(after)
        if before.repeats:
            wanted[RCX] = start[RCX] - 1
            wanted[RIP] = before.general[RIP] + before.length
        left = [self.cpu.read_register(reg) for reg in GENERAL_ORDER]
        beside = ~(_ARITHMETIC | RF)
        left[RFLAGS], wanted[RFLAGS] = left[RFLAGS] & beside, wanted[RFLAGS] & beside
        return left == wanted


def _same(told: Exit, found: Exit) -> bool:
    if isinstance(told, PortOutMany) and isinstance(found, PortOut):
        return told == PortOutMany(found.port, found.size_bytes, found.data.to_bytes(found.size_bytes, "little"))
    return isinstance(told, Halted | MmioLoad | MmioStore | PortIn | PortOut | PortOutMany) and told == found
