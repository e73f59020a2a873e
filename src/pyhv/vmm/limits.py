"""What ends a run from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .console import ByteSink


@dataclass(frozen=True, slots=True)
class Limits:
    """None: no limit. `until` ends the run when the guest has printed this text."""

    seconds: float | None = None
    instructions: int | None = None
    until: bytes | None = None


class WatchingSink:
    """Passes everything on and notices when `text` went by, in whatever pieces."""

    def __init__(self, onward: ByteSink, text: bytes) -> None:
        self._onward = onward
        self._text = text
        self._tail = b""
        self.seen = False
        self.on_seen: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        self._onward.write(data)
        joined = self._tail + data
        if not self.seen and self._text in joined:
            self.notice()
        self._tail = joined[-(len(self._text) - 1) :] if len(self._text) > 1 else b""

    def notice(self) -> None:
        """The text was seen elsewhere."""
        self.seen = True
        self.on_seen()

    def flush(self) -> None:
        self._onward.flush()
