"""The PC's odd ports: 0x61 (speaker and timer 2), 0x92 (A20 and fast reset) and 0xCF9 (reset)."""

from __future__ import annotations

from collections.abc import Callable

from .pit import Counter

GATE2, SPEAKER, REFRESH, OUT2 = 0x01, 0x02, 0x10, 0x20
FAST_RESET, A20 = 0x01, 0x02
RESET_CPU = 0x04


class SystemControlB:
    """Port 0x61: gate and output of timer 2, and a bit that toggles as memory refresh did."""

    width_bytes = 1

    def __init__(self, timer2: Counter) -> None:
        self._timer2 = timer2
        self._speaker = 0
        self._refresh = 0
        timer2.gate = False

    def read(self, offset: int, size_bytes: int) -> int:
        self._refresh ^= REFRESH
        return self._timer2.gate * GATE2 | self._speaker | self._refresh | self._timer2.output * OUT2

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self._speaker = value & SPEAKER
        self._timer2.gate = bool(value & GATE2)


class SystemControlA:
    """Port 0x92. A20 is always on: the bit is kept, addresses are not masked."""

    width_bytes = 1

    def __init__(self, on_reset: Callable[[str], None]) -> None:
        self._on_reset = on_reset
        self._value = A20

    def read(self, offset: int, size_bytes: int) -> int:
        return self._value

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self._value = value & A20
        if value & FAST_RESET:
            self._on_reset("fast reset, port 0x92")


class PciPorts:
    """Ports 0xCF8 to 0xCFF of a machine without PCI: all ones. A byte at 0xCF9 is the chipset's reset control."""

    width_bytes = 4
    RESET = 1

    def __init__(self, on_reset: Callable[[str], None]) -> None:
        self._on_reset = on_reset
        self._value = 0

    def read(self, offset: int, size_bytes: int) -> int:
        return self._value if (offset, size_bytes) == (self.RESET, 1) else (1 << 8 * size_bytes) - 1

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if (offset, size_bytes) != (self.RESET, 1):
            return
        self._value = value & ~RESET_CPU
        if value & RESET_CPU:
            self._on_reset("reset control, port 0xCF9")
