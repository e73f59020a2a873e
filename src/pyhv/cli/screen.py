"""The guest's text screen on this terminal: drawn where it changed, and the terminal as it was afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from types import TracebackType
from typing import Self

from pyhv.vmm.devices.crtc import COLUMNS, ROWS
from pyhv.vmm.screen import GLYPHS, Frame

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[0m\x1b[?25h\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR, PLAIN = "\x1b[?25l", "\x1b[?25h", "\x1b[0m"
ANSI_COLOURS = (0, 4, 2, 6, 1, 5, 3, 7)  # of the PC's black, blue, green, cyan, red, magenta, brown, grey
FOREGROUND, BRIGHT, BACKGROUND, BLINK = 30, 90, 40, 5


class ScreenKind(StrEnum):
    """What `--screen` takes."""

    NONE = "none"
    TEXT = "text"


class Painter:
    """While open, `draw(frame)` shows frames on the terminal `fd`, in a page of their own that goes away at the end."""

    def __init__(self, fd: int, encoding: str = "utf-8") -> None:
        self._fd, self._encoding = fd, encoding
        self._size: os.terminal_size | None = None
        self._shown: list[bytes | None] = [None] * ROWS

    def __enter__(self) -> Self:
        self._write(ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a terminal that was closed
            self._write(LEAVE)

    def draw(self, frame: Frame) -> None:
        """Rows that differ from what is shown; all of them after the terminal's size has changed."""
        size = os.get_terminal_size(self._fd)
        changed = ""
        if size != self._size:
            self._size, self._shown = size, [None] * ROWS
            changed = f"{PLAIN}\x1b[2J"
        width = min(COLUMNS, size.columns)
        for number in range(min(ROWS, size.lines)):
            row = frame.row(number)
            if row != self._shown[number]:
                self._shown[number] = row
                changed += f"\x1b[{number + 1};1H{''.join(painted(row[: 2 * width]))}"
        self._write(f"{HIDE_CURSOR}{changed}{self._cursor(frame)}")

    def _cursor(self, frame: Frame) -> str:
        if not frame.cursor:
            return PLAIN
        row, column = frame.cursor
        return f"{PLAIN}\x1b[{row + 1};{column + 1}H{SHOW_CURSOR}"

    def _write(self, text: str) -> None:
        data = text.encode(self._encoding, "replace")
        while data:
            data = data[os.write(self._fd, data) :]


def painted(row: bytes) -> Iterator[str]:
    """The characters of a row, each run of one attribute behind its escape sequence."""
    for attribute, run in groupby(zip(row[::2], row[1::2], strict=True), key=itemgetter(1)):
        yield f"{sequence(attribute)}{''.join(GLYPHS[character] for character, _ in run)}"


def sequence(attribute: int) -> str:
    """The escape sequence of an attribute: bits 0-2 and 3 the colour and its intensity, 4-6 behind it, 7 blinks."""
    front = (BRIGHT if attribute & 8 else FOREGROUND) + ANSI_COLOURS[attribute & 7]
    back = BACKGROUND + ANSI_COLOURS[attribute >> 4 & 7]
    return f"\x1b[0;{front};{back}{f';{BLINK}' if attribute & 0x80 else ''}m"
