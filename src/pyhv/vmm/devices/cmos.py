"""The MC146818 real-time clock and its battery-backed memory, where a PC keeps how much memory it has.

Motorola MC146818 data sheet; the memory-size bytes follow the PC/AT and the virtual PCs that firmware is written for.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import IntEnum

BASE_KIB = 640
KIB, BLOCK = 1 << 10, 64 << 10
GIB4, MIB16, MIB1 = 4 << 30, 16 << 20, 1 << 20


class Cell(IntEnum):
    """Bytes of the memory that mean something here."""

    SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR = 0, 2, 4, 6, 7, 8, 9
    STATUS_A, STATUS_B, STATUS_C, STATUS_D = 0x0A, 0x0B, 0x0C, 0x0D
    EQUIPMENT = 0x14
    BASE_LOW, BASE_HIGH = 0x15, 0x16
    EXTENDED_LOW, EXTENDED_HIGH = 0x17, 0x18
    EXTENDED2_LOW, EXTENDED2_HIGH = 0x30, 0x31
    CENTURY = 0x32
    ABOVE_16M_LOW, ABOVE_16M_HIGH = 0x34, 0x35
    ABOVE_4G_LOW, ABOVE_4G_MIDDLE, ABOVE_4G_HIGH = 0x5B, 0x5C, 0x5D


STATUS_A_32KHZ = 0x26
STATUS_B_BINARY, STATUS_B_24H = 0x04, 0x02
STATUS_D_VALID = 0x80


class Cmos:
    """Offset 0 selects a cell (bit 7, the NMI mask, is ignored), offset 1 reads or writes it."""

    width_bytes = 1

    def __init__(self, low_bytes: int, high_bytes: int = 0, now: Callable[[], datetime] = datetime.now) -> None:
        """`low_bytes` of RAM start at 0, `high_bytes` at 4 GiB."""
        self._now = now
        self._index = 0
        self._cells = bytearray(128)
        self._cells[Cell.STATUS_A] = STATUS_A_32KHZ
        self._cells[Cell.STATUS_B] = STATUS_B_24H
        self._store_memory(low_bytes, high_bytes)

    def read(self, offset: int, size_bytes: int) -> int:
        return self._index if offset == 0 else self._cell(self._index)

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if offset == 0:
            self._index = value & 0x7F
        elif self._index not in (Cell.STATUS_C, Cell.STATUS_D):
            self._cells[self._index] = value & (0x7F if self._index == Cell.STATUS_A else 0xFF)

    def _store_memory(self, low_bytes: int, high_bytes: int) -> None:
        base = min(low_bytes // KIB, BASE_KIB)
        extended = min(max(low_bytes - MIB1, 0) // KIB, 0xFFFF)
        above_16m = min(max(low_bytes - MIB16, 0) // BLOCK, 0xFFFF)
        for low, value, count in (
            (Cell.BASE_LOW, base, 2),
            (Cell.EXTENDED_LOW, extended, 2),
            (Cell.EXTENDED2_LOW, extended, 2),
            (Cell.ABOVE_16M_LOW, above_16m, 2),
            (Cell.ABOVE_4G_LOW, high_bytes // BLOCK, 3),
        ):
            self._cells[low : low + count] = value.to_bytes(count, "little")

    def _cell(self, index: int) -> int:
        if index == Cell.STATUS_D:
            return STATUS_D_VALID
        now = self._now()
        clock = {
            Cell.SECONDS: now.second,
            Cell.MINUTES: now.minute,
            Cell.HOURS: now.hour,
            Cell.WEEKDAY: now.isoweekday() % 7 + 1,
            Cell.DAY: now.day,
            Cell.MONTH: now.month,
            Cell.YEAR: now.year % 100,
            Cell.CENTURY: now.year // 100,
        }
        if index not in clock:
            return self._cells[index]
        value = clock[Cell(index)]
        if index == Cell.HOURS and not self._cells[Cell.STATUS_B] & STATUS_B_24H:
            afternoon, value = value >= 12, (value - 1) % 12 + 1
            return self._number(value) | 0x80 * afternoon
        return self._number(value)

    def _number(self, value: int) -> int:
        binary = self._cells[Cell.STATUS_B] & STATUS_B_BINARY
        return value if binary else value // 10 << 4 | value % 10
