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


class PanicSink:
    """Passes everything on and keeps the line in which a kernel says that it gives up."""

    MARK = b"Kernel panic - not syncing"
    LINE_MAX = 200

    def __init__(self, onward: ByteSink) -> None:
        self._onward = onward
        self._tail = b""
        self._found = False
        self.line = ""

    def write(self, data: bytes) -> None:
        self._onward.write(data)
        if self.line:
            return
        joined = self._tail + data
        if data == b"\n" and not self._found:
            self._tail = b""  # the mark has no line end in it
            return
        if not self._found and self.MARK in joined:
            self._found, joined = True, joined[joined.index(self.MARK) :]
        if not self._found:
            self._tail = joined[-(len(self.MARK) - 1) :]
            return
        self._tail = joined
        line, newline, _ = joined.partition(b"\n")
        if newline or len(line) >= self.LINE_MAX:
            self.line = line[: self.LINE_MAX].decode("utf-8", "replace").strip()

    def flush(self) -> None:
        self._onward.flush()
