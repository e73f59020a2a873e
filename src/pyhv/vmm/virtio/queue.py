"""Split virtqueues, from the device's side. Virtual I/O Device 1.2, "Split Virtqueues".

Everything in the rings is the guest's word and may be a lie: it is checked before use, and read once. A lie raises
QueueError, which fails the device and nothing else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from ..dma import BadAddress, Dma

NEXT, WRITE, INDIRECT = 1, 2, 4  # flags of a descriptor
NO_INTERRUPT = 1  # in the driver's ring: it does not want to hear
DESCRIPTOR_BYTES, USED_BYTES = 16, 8
DESCRIPTOR_ALIGN, AVAILABLE_ALIGN, USED_ALIGN = 16, 2, 4
SIZE_MAX = 256
_DESCRIPTOR = struct.Struct("<QIHH")
_USED = struct.Struct("<II")


class QueueError(Exception):
    """The driver put something into a queue that cannot be; the message names it."""


@dataclass(slots=True)
class Chain:
    """One request: what the device may read, and then what it may write, as (GPA, bytes)."""

    head: int
    readable: list[tuple[int, int]] = field(default_factory=list)
    writable: list[tuple[int, int]] = field(default_factory=list)

    @property
    def readable_bytes(self) -> int:
        return sum(size for _, size in self.readable)

    @property
    def writable_bytes(self) -> int:
        return sum(size for _, size in self.writable)


class Queue:
    """One queue. The transport fills in `size` and the addresses and sets `ready`."""

    def __init__(self, dma: Dma) -> None:
        self._dma = dma
        self.reset()

    def reset(self) -> None:
        """As after a reset of the device."""
        self.size = SIZE_MAX
        self.ready = False
        self.descriptors = self.available = self.used = 0
        self.vector = 0xFFFF  # MSI-X: none
        self._next_available = 0
        self._next_used = 0
        self._signalled = 0  # the used index when the driver was last told
        self._told_before = False

    def start(self) -> None:
        """The driver says that the queue is set up. Raises QueueError where it cannot be."""
        if self.size == 0 or self.size & (self.size - 1) or self.size > SIZE_MAX:
            raise QueueError(f"a queue size of {self.size}; powers of two up to {SIZE_MAX} can be")
        for what, at, align, size in (
            ("descriptor table", self.descriptors, DESCRIPTOR_ALIGN, DESCRIPTOR_BYTES * self.size),
            ("available ring", self.available, AVAILABLE_ALIGN, 6 + 2 * self.size),
            ("used ring", self.used, USED_ALIGN, 6 + USED_BYTES * self.size),
        ):
            if at % align:
                raise QueueError(f"its {what} at {at:#x}, which is not a multiple of {align}")
            try:
                self._dma.check(at, size)
            except BadAddress as bad:
                raise QueueError(f"its {what} where no RAM is: {bad}") from None
        self.ready = True

    def pop(self, indirect: bool, event_index: bool) -> Chain | None:
        """The next request, or None. Raises QueueError."""
        index = self._dma.load_u16(self.available + 2)
        waiting = (index - self._next_available) & 0xFFFF
        if not waiting:
            if event_index:
                self._ask_to_hear()
                waiting = (self._dma.load_u16(self.available + 2) - self._next_available) & 0xFFFF
            if not waiting:
                return None
        if waiting > self.size:
            raise QueueError(f"the available index {index} is {waiting} ahead, in a queue of {self.size}")
        head = self._dma.load_u16(self.available + 4 + 2 * (self._next_available % self.size))
        chain = self._walk(head, indirect)
        self._next_available = (self._next_available + 1) & 0xFFFF
        return chain

    def push(self, chain: Chain, written_bytes: int) -> None:
        """Give a request back, with how much was written into it."""
        at = self.used + 4 + USED_BYTES * (self._next_used % self.size)
        self._dma.store_plain(at, _USED.pack(chain.head, written_bytes))
        self._next_used = (self._next_used + 1) & 0xFFFF
        self._dma.store_u16(self.used + 2, self._next_used)

    def wants_interrupt(self, event_index: bool) -> bool:
        """Whether the driver wants to hear about what was given back since it was last told."""
        if self._next_used == self._signalled and self._told_before:
            return False
        if event_index:
            wanted = self._dma.load_u16(self.available + 4 + 2 * self.size)
            new, old = self._next_used, self._signalled
            wants = not self._told_before or (new - wanted - 1) & 0xFFFF < (new - old) & 0xFFFF
        else:
            wants = not self._dma.load_u16(self.available) & NO_INTERRUPT
        self._signalled, self._told_before = self._next_used, True
        return wants

    def _ask_to_hear(self) -> None:
        """avail_event: the next request is worth a notification."""
        self._dma.store_u16(self.used + 4 + USED_BYTES * self.size, self._next_available)

    def _walk(self, head: int, indirect: bool) -> Chain:
        if head >= self.size:
            raise QueueError(f"descriptor {head} in a queue of {self.size}")
        chain = Chain(head)
        table, count, index, inside = self.descriptors, self.size, head, False
        for _ in range(self.size):
            gpa, length, flags, following = self._descriptor(table, index)
            if flags & INDIRECT:
                if not indirect:
                    raise QueueError("an indirect descriptor, which was not negotiated")
                if inside or flags & NEXT:
                    raise QueueError("an indirect descriptor inside a table, or with a next one")
                if not length or length % DESCRIPTOR_BYTES:
                    raise QueueError(f"an indirect table of {length} bytes; whole descriptors of 16 can be")
                table, count, index, inside = gpa, length // DESCRIPTOR_BYTES, 0, True
                continue
            self._add(chain, gpa, length, flags)
            if not flags & NEXT:
                return chain
            index = following
            if index >= count:
                raise QueueError(f"descriptor {index} in a table of {count}")
        raise QueueError(f"a chain of more than {self.size} descriptors: a circle, or longer than the queue")

    def _descriptor(self, table: int, index: int) -> tuple[int, int, int, int]:
        try:
            return _DESCRIPTOR.unpack(self._dma.read(table + DESCRIPTOR_BYTES * index, DESCRIPTOR_BYTES))
        except BadAddress as bad:
            raise QueueError(f"a descriptor where no RAM is: {bad}") from None

    def _add(self, chain: Chain, gpa: int, length: int, flags: int) -> None:
        try:
            self._dma.check(gpa, length)
        except BadAddress as bad:
            raise QueueError(f"a buffer where no RAM is: {bad}") from None
        if flags & WRITE:
            chain.writable.append((gpa, length))
        elif chain.writable:
            raise QueueError("a buffer to read behind one to write")
        else:
            chain.readable.append((gpa, length))
