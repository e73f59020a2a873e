"""What can stand in for system software that the bare machine does not have: DOS, for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pyhv import Exception as ExceptionExit

from .outcome import Outcome

Wait = Callable[[], Outcome | None]


class Personality(Protocol):
    """Answers for system software. `wait` sleeps until something may have been typed; an outcome ends the run."""

    def exception(self, exit_: ExceptionExit, wait: Wait) -> Outcome | None:
        """An intercepted exception; None: go on."""

    def halted(self, wait: Wait) -> tuple[bool, Outcome | None]:
        """HLT: whether it was meant for the personality, and how the run ends, if it does."""
