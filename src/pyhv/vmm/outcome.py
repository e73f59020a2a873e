"""How a run can end, as values. The command's exit codes (`docs/exit-codes.md`) are made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class GuestExited:
    """The guest wrote `value` to the exit port, or a DOS program ended with it. `by` says which."""

    value: int
    by: str


@dataclass(frozen=True, slots=True)
class HaltedForever:
    """HLT, and nothing can ever wake the processor; `why` says what is missing."""

    why: str


@dataclass(frozen=True, slots=True)
class GuestDied:
    """The processor cannot go on: a triple fault, a jump into nothing. `why` is the reason in words, `steps` how
    it came about, where that has several.
    """

    why: str
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotCarried:
    """The guest asked for something that this machine does not have; `what` names it."""

    what: str


@dataclass(frozen=True, slots=True)
class ResetAsked:
    """The guest pulled a reset line; `how` says which."""

    how: str


@dataclass(frozen=True, slots=True)
class PoweredOff:
    """The guest switched the machine off, as ACPI says it."""


@dataclass(frozen=True, slots=True)
class Panicked:
    """The guest's kernel gave up; `what` is the line that it printed."""

    what: str


@dataclass(frozen=True, slots=True)
class TextSeen:
    """The text that the caller waited for was printed."""

    text: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The time given for the run is over."""

    seconds: float


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The instructions given for the run are executed."""

    instructions: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Ctrl-C, or a kick from another thread."""


Outcome: TypeAlias = (
    GuestExited
    | HaltedForever
    | GuestDied
    | NotCarried
    | ResetAsked
    | PoweredOff
    | Panicked
    | TextSeen
    | TimedOut
    | LimitReached
    | Interrupted
)
