"""The guest's text screen as values: 80 × 25 cells of character and attribute at 0xB8000, and the cursor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyhv import Fault

from .devices.crtc import COLUMNS, ROWS, Crtc

TEXT_AT, TEXT_BYTES = 0xB8000, 0x8000
ROW_BYTES = 2 * COLUMNS
FRAME_BYTES = ROW_BYTES * ROWS
_BELOW_SPACE = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
GLYPHS = _BELOW_SPACE + bytes(range(0x20, 0x7F)).decode() + "⌂" + bytes(range(0x80, 0xFF)).decode("cp437") + " "


@dataclass(frozen=True, slots=True)
class Frame:
    """What is on the screen. `cells` has character and attribute alternating; `cursor` is (row, column)."""

    cells: bytes
    cursor: tuple[int, int] | None

    def row(self, number: int) -> bytes:
        """Characters and attributes of one row."""
        return self.cells[number * ROW_BYTES : (number + 1) * ROW_BYTES]

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, without what is blank on the right and at the bottom."""
        rows = ["".join(GLYPHS[c] for c in self.row(number)[::2]).rstrip() for number in range(ROWS)]
        while rows and not rows[-1]:
            rows.pop()
        return tuple(rows)

    def shows(self, text: str) -> bool:
        """Whether `text` stands somewhere, within one line."""
        return any(text in line for line in self.lines)


class TextScreen:
    """The screen of one machine: `frame()` is what it shows now."""

    def __init__(self, read: Callable[[int, int], bytes], crtc: Crtc) -> None:
        """`read(gpa, size)` gives guest memory."""
        self._read, self._crtc = read, crtc

    def frame(self) -> Frame:
        """The cells from the CRTC's start address on, in text memory that goes round; blank where there is none."""
        try:
            memory = self._read(TEXT_AT, TEXT_BYTES)
        except Fault:
            memory = bytes(TEXT_BYTES)
        start = 2 * self._crtc.start % TEXT_BYTES
        cells = (memory + memory)[start : start + FRAME_BYTES]
        return Frame(cells, self._place(self._crtc.cursor))

    def _place(self, cursor: int | None) -> tuple[int, int] | None:
        if cursor is None:
            return None
        cell = (cursor - self._crtc.start) % (TEXT_BYTES // 2)
        return divmod(cell, COLUMNS) if cell < COLUMNS * ROWS else None
