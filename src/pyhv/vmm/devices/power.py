"""The fixed power-management registers: event and control block, and the timer. ACPI 6.4, "ACPI Register Model"."""

from __future__ import annotations

from collections.abc import Callable

TIMER_HZ = 3_579_545
EVENTS, ENABLES, CONTROL, TIMER = 0, 2, 4, 8  # offsets
BYTES = 12
ACPI_MODE, SLEEP_ENABLE = 0x0001, 0x2000
SLEEP_TYPE_SHIFT = 10
NS = 1_000_000_000


class PowerManagement:
    """ACPI mode is always on. Going to sleep type 5 is power off; no event ever comes by itself."""

    width_bytes = 4

    def __init__(self, now_ns: Callable[[], int], on_off: Callable[[], None], off_type: int = 5) -> None:
        self._now_ns, self._on_off, self._off_type = now_ns, on_off, off_type
        self._enables = 0
        self._control = ACPI_MODE

    def read(self, offset: int, size_bytes: int) -> int:
        registers = self._enables << 8 * ENABLES | self._control << 8 * CONTROL | self._ticks() << 8 * TIMER
        return registers >> 8 * offset & ((1 << 8 * size_bytes) - 1)

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if offset == EVENTS and size_bytes == 4:
            offset, size_bytes, value = ENABLES, 2, value >> 16
        if offset == ENABLES and size_bytes == 2:
            self._enables = value & 0xFFFF
        elif offset == CONTROL and size_bytes >= 2:
            self._control = value & 0xFFFF & ~SLEEP_ENABLE | ACPI_MODE
            if value & SLEEP_ENABLE and value >> SLEEP_TYPE_SHIFT & 7 == self._off_type:
                self._on_off()

    def _ticks(self) -> int:
        return self._now_ns() * TIMER_HZ // NS & 0xFFFF_FFFF
