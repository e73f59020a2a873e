"""Screen and keyboard as BIOS and DOS programs see them: a terminal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ..console import ByteSink, ByteSource
from .endings import WouldBlock

CTRL_Z, CR, LF = 0x1A, 0x0D, 0x0A


class KeyConsole:
    """Characters out, keys in. Enter is CR; once the input has ended, every key is Ctrl-Z."""

    def __init__(self, sink: ByteSink, source: ByteSource, now: Callable[[], datetime] = datetime.now) -> None:
        self.sink, self.source, self.now = sink, source, now
        self._pushed_back: list[int] = []

    def put(self, data: bytes) -> None:
        self.sink.write(data)

    def has_key(self) -> bool:
        return bool(self._pushed_back) or self.source.ready()

    def key(self) -> int:
        """The next character typed. Raises WouldBlock when there is none yet."""
        if self._pushed_back:
            return self._pushed_back.pop()
        if not self.source.ready():
            if self.source.ended:
                return CTRL_Z
            self.sink.flush()
            raise WouldBlock
        value = self.source.read()
        return CR if value == LF else value if value is not None else CTRL_Z

    def push_back(self, key: int) -> None:
        """Let `key()` give this one next."""
        self._pushed_back.append(key)
