"""Interrupts of a DOS program, one after the other: find who answers, let him, and step over the INT."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from ..bios import services
from ..bios.console import CR, CTRL_Z, KeyConsole
from ..bios.guest16 import INTERRUPT, TRAP, Guest16, GuestMemory
from ..console import ByteSink, ByteSource
from . import calls
from .endings import DosProgramEnded
from .files import DosError, Files

INT_OPCODE, INT3_OPCODE, INTO_OPCODE, INT1_OPCODE = 0xCD, 0xCC, 0xCE, 0xF1
STUB_SEGMENT = 0xF000
BACKSPACE, DELETE = 0x08, 0x7F


class DosKernel(KeyConsole):
    """The state of DOS behind one program: console, files, vectors, disk transfer address, memory blocks."""

    def __init__(
        self,
        sink: ByteSink,
        source: ByteSource,
        files: Files,
        *,
        psp: int,
        memory_end: int,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        super().__init__(sink, source, now)
        self.files = files
        self.psp, self.memory_end = psp, memory_end
        self.blocks: dict[int, int] = {psp: memory_end}  # segment → its end, in paragraphs
        self.dta = (psp, 0x80)
        self.searches: list[Any] = []
        self._line: list[int] = []

    def install(self, memory: GuestMemory) -> None:
        """Point all 256 vectors at IRETs that are told apart by their offset: a vector that differs was hooked."""
        for vector in range(256):
            memory[4 * vector : 4 * vector + 4] = self.stub(vector)
        memory[STUB_SEGMENT << 4 : (STUB_SEGMENT << 4) + 256] = b"\xcf" * 256

    @staticmethod
    def stub(vector: int) -> bytes:
        """What an unhooked vector holds."""
        return vector.to_bytes(2, "little") + STUB_SEGMENT.to_bytes(2, "little")

    def interrupt(self, cpu: Any, memory: GuestMemory, vector: int, length: int) -> None:
        """Answer INT `vector`, whose instruction of `length` bytes is at CS:IP, and move IP after it.

        Raises DosProgramEnded, UnknownCall or WouldBlock; after the last nothing has changed.
        """
        guest = Guest16(cpu, memory)
        entry = bytes(memory[4 * vector : 4 * vector + 4])
        if entry != self.stub(vector):
            self._enter_hook(guest, entry, length)
            return
        try:
            self._answer(guest, vector)
        except DosError as error:
            guest.ax, guest.carry = error.code, True
        guest.ip = guest.ip + length

    def _answer(self, guest: Guest16, vector: int) -> None:
        match vector:
            case 0x20:
                raise DosProgramEnded(0)
            case 0x21:
                calls.serve(self, guest)
            case 0x27:
                raise DosProgramEnded(0)  # stay resident: there is nobody to stay for
            case 0x28 | 0x2F:
                pass  # idle; multiplex: nobody is installed, and registers that do not change say so
            case 0x29:
                self.put(bytes((guest.al,)))
            case 0x33:
                guest.ax = 0  # no mouse
            case _:
                services.serve(self, guest, vector)

    @staticmethod
    def _enter_hook(guest: Guest16, entry: bytes, length: int) -> None:
        """What the processor would have done: push FLAGS, CS, IP and go to the program's own handler."""
        guest.push(guest.flags)
        guest.push(guest.cs)
        guest.push(guest.ip + length)
        guest.flags = guest.flags & ~(INTERRUPT | TRAP)
        guest.cs = int.from_bytes(entry[2:], "little")
        guest.ip = int.from_bytes(entry[:2], "little")

    def read_line(self, limit: int) -> bytes:
        """A line of at most `limit` characters, echoed, with Backspace; it ends with CR, which is not part of it."""
        while True:
            key = self.key()  # may block: what was typed so far stays
            if key in (CR, CTRL_Z) and (key == CR or self.source.ended):
                break
            if key in (BACKSPACE, DELETE):
                if self._line:
                    self._line.pop()
                    self.put(b"\b \b")
            elif len(self._line) < limit:
                self._line.append(key)
                self.put(bytes((key,)))
            else:
                self.put(b"\a")
        line, self._line = bytes(self._line), []
        return line


def decode_interrupt(code: bytes) -> tuple[int, int] | None:
    """(vector, instruction length) of the INT n, INT3, INTO or INT1 that `code` begins with, else None."""
    if len(code) >= 2 and code[0] == INT_OPCODE:
        return code[1], 2
    vector = {INT3_OPCODE: 3, INTO_OPCODE: 4, INT1_OPCODE: 1}.get(code[0]) if code else None
    return None if vector is None else (vector, 1)
