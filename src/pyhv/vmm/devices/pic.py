"""Two 8259A interrupt controllers, cascaded as in a PC/AT. Intel 8259A data sheet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .line import Line

CASCADE = 2
SPURIOUS = 7


class Pic8259:
    """One controller: offset 0 takes commands, offset 1 the mask. `changed` is called when its output may differ."""

    width_bytes = 1

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._request = self._service = self._levels = 0
        self._mask = 0xFF
        self._base = 0
        self._step = 0  # which initialisation word comes next: 0 none, else 2 to 4
        self._needs_icw4 = self._single = self._auto_eoi = False
        self._read_service = False
        self._lowest = 7  # the line of lowest priority; rotation moves it
        self.level_triggered = 0
        self._lines = tuple(Line(partial(self._set_input, number)) for number in range(8))

    def line(self, number: int) -> Line:
        """The input `number`, 0 to 7; one wire each, however often it is asked for."""
        return self._lines[number]

    @property
    def output(self) -> bool:
        """INTR: an unmasked request outranks what is in service."""
        return self._next() is not None

    def enabled(self, number: int) -> bool:
        """Whether a request on this line would get through the mask."""
        return not self._mask >> number & 1

    def acknowledge(self) -> int:
        """INTA: take the highest request into service and return its line; 7 when there is none (spurious)."""
        number = self._next()
        if number is None:
            return SPURIOUS
        bit = 1 << number
        if not self.level_triggered & bit:
            self._request &= ~bit
        if not self._auto_eoi:
            self._service |= bit
        self._changed()
        return number

    def vector(self, number: int) -> int:
        return self._base | number

    def read(self, offset: int, size_bytes: int) -> int:
        if offset == 1:
            return self._mask
        return self._service if self._read_service else self._request

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if offset == 1:
            self._write_data(value)
        elif value & 0x10:
            self._begin(value)
        elif value & 0x08:
            if value & 0x02:
                self._read_service = bool(value & 0x01)
        else:
            self._end_of_interrupt(value)
        self._changed()

    def _set_input(self, number: int, level: bool) -> None:
        bit = 1 << number
        rising = level and not self._levels & bit
        self._levels = self._levels | bit if level else self._levels & ~bit
        if self.level_triggered & bit:
            self._request = self._request | bit if level else self._request & ~bit
        elif rising:
            self._request |= bit
        elif not level:
            self._request &= ~bit
        self._changed()

    def _order(self) -> list[int]:
        return [(self._lowest + 1 + i) % 8 for i in range(8)]

    def _next(self) -> int | None:
        wanted = self._request & ~self._mask
        if not wanted:
            return None
        for number in self._order():
            if self._service >> number & 1:
                return None
            if wanted >> number & 1:
                return number
        return None

    def _begin(self, icw1: int) -> None:
        self._mask = self._service = self._request = 0
        self._needs_icw4, self._single = bool(icw1 & 1), bool(icw1 & 2)
        self._read_service = self._auto_eoi = False
        self._lowest, self._step = 7, 2

    def _write_data(self, value: int) -> None:
        if self._step == 0:
            self._mask = value
            return
        if self._step == 2:
            self._base = value & 0xF8
        elif self._step == 4:
            self._auto_eoi = bool(value & 2)
        following = {2: 4 if self._single else 3, 3: 4, 4: 0}[self._step]
        self._step = 0 if following == 4 and not self._needs_icw4 else following

    def _end_of_interrupt(self, ocw2: int) -> None:
        command, number = ocw2 >> 5, ocw2 & 7
        specific, rotate, ends = command & 2, command & 4, command & 1
        if ends and not specific:
            found = next((n for n in self._order() if self._service >> n & 1), None)
            if found is None:
                return
            number = found
        if ends:
            self._service &= ~(1 << number)
        if rotate and (ends or specific):
            self._lowest = number


class PicPair:
    """Master and slave, joined at the master's input 2: the PC's sixteen lines."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called when INTR may be another."""
        self.master = Pic8259(changed)
        self._cascade = self.master.line(CASCADE)
        self.slave = Pic8259(self._follow)

    def line(self, irq: int) -> Line:
        """IRQ 0 to 15."""
        return self.slave.line(irq - 8) if irq >= 8 else self.master.line(irq)

    def enabled(self, irq: int) -> bool:
        """Whether a request on this IRQ would get through the masks."""
        return self.slave.enabled(irq - 8) and self.master.enabled(CASCADE) if irq >= 8 else self.master.enabled(irq)

    @property
    def pending(self) -> bool:
        return self.master.output

    def acknowledge(self) -> int:
        """The vector that the processor takes."""
        number = self.master.acknowledge()
        if number != CASCADE:
            return self.master.vector(number)
        inner = self.slave.acknowledge()
        return self.slave.vector(inner)

    def _follow(self) -> None:
        output = self.slave.output
        if output and self._cascade.level:
            self._cascade.set(False)  # a new request while an older one was acknowledged: a fresh edge
        self._cascade.set(output)


class EdgeLevel:
    """The ELCR: which lines of a pair are level-triggered, a byte each. Intel 82371SB (PIIX3) data sheet."""

    width_bytes = 1

    def __init__(self, pair: PicPair) -> None:
        self._pics = (pair.master, pair.slave)

    def read(self, offset: int, size_bytes: int) -> int:
        return self._pics[offset].level_triggered

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self._pics[offset].level_triggered = value & (0xF8 if offset == 0 else 0xDE)
