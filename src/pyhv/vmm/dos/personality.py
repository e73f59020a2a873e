"""DOS behind the exits of one processor: with an empty IDT every INT n becomes an intercepted #GP."""

from __future__ import annotations

from pyhv import Exception as ExceptionExit
from pyhv import Fault, VCpu

from ..autopsy import place
from ..bios.endings import UnknownCall, WouldBlock
from ..bios.guest16 import GuestMemory
from ..faults import NAMES
from ..outcome import GuestDied, GuestExited, NotCarried, Outcome
from ..personality import Wait
from .endings import DosProgramEnded
from .kernel import DosKernel, decode_interrupt

GENERAL_PROTECTION = 13
SOFTWARE = (4, 5, 6)  # INT n; INT1; INT3 and INTO
EXIT_ON = 1 << 0 | 1 << 4 | 1 << 6 | 1 << GENERAL_PROTECTION


class DosPersonality:
    """Answers the INTs of a .COM program. Intel SDM vol. 3C, "Information for VM Exits During Event Delivery"."""

    def __init__(self, kernel: DosKernel, cpu: VCpu, memory: GuestMemory) -> None:
        self._kernel, self._cpu, self._memory = kernel, cpu, memory
        kernel.install(memory)
        cpu.segments.idtr.base, cpu.segments.idtr.limit = 0, 0
        cpu.controls.exception_bitmap = EXIT_ON

    def exception(self, exit_: ExceptionExit, wait: Wait) -> Outcome | None:
        """A #GP whose vectoring information names a software interrupt is a call; all else is the program's fault."""
        vectoring = self._cpu.exit_info.vectoring
        if exit_.vector != GENERAL_PROTECTION or not vectoring.valid or vectoring.kind not in SOFTWARE:
            return self._fault(exit_)
        length = self._cpu.exit_info.instruction_length or self._length()
        try:
            self._kernel.interrupt(self._cpu, self._memory, vectoring.vector, length)
        except DosProgramEnded as end:
            return GuestExited(end.code, "DOS")
        except UnknownCall as call:
            return NotCarried(str(call))
        except WouldBlock:
            return wait()
        except Fault as beyond:
            return GuestDied(
                f"INT {vectoring.vector:02X}h at {place(self._cpu)} was given memory that is not there: {beyond}"
            )
        return None

    def halted(self, wait: Wait) -> tuple[bool, Outcome | None]:
        """DOS programs idle with HLT; the clock interrupt that wakes them on a PC is the end of a wait here."""
        return True, wait()

    def _length(self) -> int:
        linear = self._cpu.segments.cs.base + (self._cpu.regs.rip & 0xFFFF)
        found = decode_interrupt(bytes(self._memory[linear : linear + 2]))
        return found[1] if found else 2

    def _fault(self, exit_: ExceptionExit) -> Outcome:
        name = NAMES.get(exit_.vector, f"exception {exit_.vector}")
        return GuestDied(f"{name} at {place(self._cpu)}, and DOS has no handler for it")
