"""The CRT controller and status register of a colour text screen, as far as programs in text mode use them.

IBM VGA: CRTC index and data at 0x3D4 and 0x3D5, input status 1 at 0x3DA (IBM PS/2 Hardware Interface Technical
Reference, "Video Subsystem").
"""

from __future__ import annotations

from enum import IntEnum

COLUMNS, ROWS = 80, 25
CURSOR_OFF = 0x20  # in CURSOR_START
DISPLAY_DISABLED, VERTICAL_RETRACE = 0x01, 0x08
REGISTERS = 0x19


class Register(IntEnum):
    """Those that say what is shown."""

    CURSOR_START = 0x0A
    CURSOR_END = 0x0B
    START_HIGH = 0x0C
    START_LOW = 0x0D
    CURSOR_HIGH = 0x0E
    CURSOR_LOW = 0x0F


class Crtc:
    """Offset 0 chooses a register, offset 1 is its value. Fresh: as a BIOS leaves mode 3, cursor at the top left."""

    width_bytes = 1

    def __init__(self) -> None:
        self._index = 0
        self._registers = bytearray(REGISTERS)
        self._registers[Register.CURSOR_START], self._registers[Register.CURSOR_END] = 0x0D, 0x0E

    def read(self, offset: int, size_bytes: int) -> int:
        if offset == 0:
            return self._index
        return self._registers[self._index] if self._index < REGISTERS else 0xFF

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if offset == 0:
            self._index = value
        elif self._index < REGISTERS:
            self._registers[self._index] = value

    @property
    def start(self) -> int:
        """The cell that is shown at the top left, from the beginning of the text memory."""
        return self._registers[Register.START_HIGH] << 8 | self._registers[Register.START_LOW]

    @property
    def cursor(self) -> int | None:
        """The cell of the cursor, from the beginning of the text memory; None while it is off."""
        top, bottom = self._registers[Register.CURSOR_START], self._registers[Register.CURSOR_END]
        if top & CURSOR_OFF or top & 0x1F > bottom & 0x1F:
            return None
        return self._registers[Register.CURSOR_HIGH] << 8 | self._registers[Register.CURSOR_LOW]


class InputStatus:
    """Port 0x3DA: programs wait here for the retrace, so every other look finds one."""

    width_bytes = 1

    def __init__(self) -> None:
        self._retrace = 0

    def read(self, offset: int, size_bytes: int) -> int:
        self._retrace ^= VERTICAL_RETRACE | DISPLAY_DISABLED
        return self._retrace

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Writing is the feature-control register: nothing here."""
