"""A BIOS behind the interrupt vectors of a real-mode guest: each points to a HLT that only an INT can reach."""

from __future__ import annotations

from pyhv import Exception as ExceptionExit
from pyhv import Fault, VCpu

from ..autopsy import explain_fault
from ..outcome import GuestDied, NotCarried, Outcome
from ..personality import Wait
from .console import KeyConsole
from .endings import UnknownCall, WouldBlock
from .guest16 import Guest16, GuestMemory
from .services import serve

SEGMENT = 0xF000
STUB = b"\xf4\xcf"  # HLT, IRET
VECTORS = 256
OWN_MEMORY = ((0, 0x500), (SEGMENT << 4, (SEGMENT << 4) + len(STUB) * VECTORS))  # vectors and data area; stubs
FLAGS_ON_STACK = 4
FAULTS = (0, 5, 6, 7, 12, 13)  # exceptions of real mode that are faults; 8 is the timer's vector here


class CalledGuest(Guest16):
    """The guest inside an INT: the flags that its caller gets back lie on the stack."""

    @property
    def flags(self) -> int:
        return self.read_word(self.ss, self.sp + FLAGS_ON_STACK)

    @flags.setter
    def flags(self, value: int) -> None:
        self.write(self.ss, self.sp + FLAGS_ON_STACK, (value & 0xFFFF).to_bytes(2, "little"))


class BiosPersonality:
    """Answers INT 10h, 11h, 12h, 15h, 16h and 1Ah. IBM PC/AT Technical Reference, "ROM BIOS"."""

    def __init__(self, console: KeyConsole, cpu: VCpu, memory: GuestMemory, ram_bytes: int) -> None:
        self._console, self._cpu, self._ram_bytes = console, cpu, ram_bytes
        self._guest = CalledGuest(cpu, memory)
        for vector in range(VECTORS):
            entry = (len(STUB) * vector).to_bytes(2, "little") + SEGMENT.to_bytes(2, "little")
            memory[4 * vector : 4 * vector + 4] = entry
        memory[SEGMENT << 4 : (SEGMENT << 4) + len(STUB) * VECTORS] = STUB * VECTORS

    def exception(self, exit_: ExceptionExit, wait: Wait) -> Outcome | None:
        """None is intercepted for a BIOS."""
        return NotCarried(f"exception {exit_.vector} was intercepted, which nobody asked for")

    def halted(self, wait: Wait) -> tuple[bool, Outcome | None]:
        """A HLT of ours is a call; after it comes an IRET. While a key is waited for, the HLT runs again."""
        after = self._cpu.regs.rip
        in_stub = self._cpu.segments.cs.selector == SEGMENT and after < len(STUB) * VECTORS and after % 2
        if not in_stub or self._cpu.regs.cr0.pe:
            return False, None
        vector = after // len(STUB)
        died = self._fault(vector)
        if died:
            return True, died
        try:
            serve(self._console, self._guest, vector, self._ram_bytes)
        except UnknownCall as call:
            return True, NotCarried(str(call))
        except Fault as beyond:
            return True, GuestDied(f"INT {vector:02X}h was given memory that is not there: {beyond}")
        except WouldBlock:
            self._cpu.regs.rip = after - 1
            return True, wait()
        return True, None

    def _fault(self, vector: int) -> Outcome | None:
        """An exception comes back to the instruction itself, an INT to what is behind it."""
        guest = self._guest
        at, segment = guest.read_word(guest.ss, guest.sp), guest.read_word(guest.ss, guest.sp + 2)
        called = bytes((0xCD, vector)) == guest.read(segment, at - 2, 2)
        if vector not in FAULTS or called:
            return None
        return GuestDied(explain_fault(self._cpu, (segment << 4) + at, f"{segment:04X}:{at:04X}", vector))
