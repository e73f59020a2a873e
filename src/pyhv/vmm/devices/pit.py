"""The 8254 interval timer: three counters of 1.193182 MHz. Intel 8254 data sheet.

Nothing runs in the background: a counter is worked out from the VM's clock when somebody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .line import Line

HZ = 1_193_182
NS = 1_000_000_000


def ticks_of(ns: int) -> int:
    """Whole timer ticks in a time."""
    return ns * HZ // NS


def ns_of(ticks: int) -> int:
    """The time after which that many ticks have passed, rounded up."""
    return -(-ticks * NS // HZ)


class Counter:
    """One counter. Modes 0 and 1 count once, 2 and 3 repeat, 4 and 5 strobe once."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._mode, self._access, self._bcd = 3, 3, False
        self._reload, self._started_ns = 0x10000, now_ns()
        self._loaded = False
        self._gate = True
        self._low: int | None = None  # first byte of a two-byte write
        self._high_next = False  # second byte of a two-byte read
        self._latched: deque[int] = deque()

    def control(self, value: int) -> None:
        """The control word, without its counter bits."""
        if not value >> 4 & 3:
            self._latch_count()
            return
        self._access, self._bcd = value >> 4 & 3, bool(value & 1)
        mode = value >> 1 & 7
        self._mode = mode - 4 if mode > 5 else mode
        self._low, self._high_next, self._loaded = None, False, False
        self._latched.clear()

    def read_back(self, count: bool, status: bool) -> None:
        if count:
            self._latch_count()
        if status:
            word = self.output << 7 | (not self._loaded) << 6 | self._access << 4 | self._mode << 1 | self._bcd
            self._latched.appendleft(word)

    def write(self, value: int) -> None:
        match self._access:
            case 1:
                self._load(value)
            case 2:
                self._load(value << 8)
            case _ if self._low is None:
                self._low = value
            case _:
                self._load(self._low | value << 8)
                self._low = None

    def read(self) -> int:
        if self._latched:
            return self._latched.popleft()
        count = self._shown()
        if self._access == 3:
            self._high_next = not self._high_next
            return count & 0xFF if self._high_next else count >> 8
        return count >> 8 if self._access == 2 else count & 0xFF

    @property
    def gate(self) -> bool:
        return self._gate

    @gate.setter
    def gate(self, level: bool) -> None:
        if level and not self._gate and self._mode != 0:
            self._started_ns = self._now_ns()  # a rising gate starts the count again
        self._gate = level

    @property
    def output(self) -> bool:
        return self._output_at(ticks_of(self._now_ns() - self._started_ns))

    def edges_until(self, now_ns: int) -> int:
        """How often the output has risen since the count was loaded."""
        if not (self._loaded and self._gate):
            return 0
        passed = ticks_of(now_ns - self._started_ns)
        return passed // self._reload if self._mode in (2, 3) else int(passed >= self._reload)

    def edge_ns(self, number: int) -> int | None:
        """When the output rises for the `number`-th time (from 1), or None if it never does."""
        if not (self._loaded and self._gate) or (number > 1 and self._mode not in (2, 3)):
            return None
        return self._started_ns + ns_of(number * self._reload)

    def _load(self, value: int) -> None:
        if self._bcd:
            value = sum((value >> 4 * i & 0xF) * 10**i for i in range(4))
        self._reload = value or (10_000 if self._bcd else 0x10000)
        self._started_ns, self._loaded = self._now_ns(), True

    def _latch_count(self) -> None:
        if self._latched:
            return  # the first latch holds until it is read
        count = self._shown()
        if self._access & 1:
            self._latched.append(count & 0xFF)
        if self._access & 2:
            self._latched.append(count >> 8)

    def _shown(self) -> int:
        """The counting element as the two bytes that are read."""
        passed = ticks_of(self._now_ns() - self._started_ns)
        match self._mode:
            case 2:
                count = self._reload - passed % self._reload
            case 3:
                count = self._reload - 2 * passed % self._reload
            case _:
                count = self._reload - passed
        if self._bcd:
            count %= 10_000
            return sum((count // 10**i % 10) << 4 * i for i in range(4))
        return count & 0xFFFF

    def _output_at(self, passed: int) -> bool:
        match self._mode:
            case 0 | 1:
                return self._loaded and passed >= self._reload
            case 2:
                return passed % self._reload != self._reload - 1
            case 3:
                return passed % self._reload < (self._reload + 1) // 2
            case _:
                return passed != self._reload


class Pit8254:
    """Offsets 0 to 2 are the counters, 3 the control word; counter 0 drives `irq`."""

    width_bytes = 1

    def __init__(
        self, now_ns: Callable[[], int], irq: Line | None = None, changed: Callable[[], None] = lambda: None
    ) -> None:
        """`changed` is called when the next event may be at another time."""
        self._changed = changed
        self._now_ns = now_ns
        self._irq = irq or Line()
        self.counters = tuple(Counter(now_ns) for _ in range(3))
        self._edges_seen = 0

    def read(self, offset: int, size_bytes: int) -> int:
        return self.counters[offset].read() if offset < 3 else 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if offset < 3:
            self.counters[offset].write(value)
        elif value >> 6 < 3:
            self.counters[value >> 6].control(value & 0x3F)
        else:
            for number, counter in enumerate(self.counters):
                if value >> 1 + number & 1:
                    counter.read_back(count=not value & 0x20, status=not value & 0x10)
        if offset in (0, 3):
            self._edges_seen = self.counters[0].edges_until(self._now_ns())
            self._changed()

    def next_event_ns(self) -> int | None:
        """When counter 0 interrupts next, on the VM's clock; None if it never will."""
        return self.counters[0].edge_ns(self._edges_seen + 1)

    def advance(self, now_ns: int) -> None:
        """Raise the interrupt if it is due; edges that nobody looked at in time become one, as on a busy PC."""
        edges = self.counters[0].edges_until(now_ns)
        if edges > self._edges_seen:
            self._edges_seen = edges
            self._irq.pulse()
