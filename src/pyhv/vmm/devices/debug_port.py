"""The debug ports of virtual PCs: what is written is printed; reading gives 0xE9, by which guests find them."""

from __future__ import annotations

from ..console import ByteSink

PRESENT = 0xE9


class DebugPort:
    """One byte-wide register."""

    width_bytes = 1

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink

    def read(self, offset: int, size_bytes: int) -> int:
        return PRESENT

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self._sink.write(bytes((value,)))
