"""What a virtio device is behind any transport. Virtual I/O Device 1.2, "Basic Facilities of a Virtio Device"."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import IntFlag

from ..dma import BadAddress, Dma
from .queue import SIZE_MAX, Chain, Queue, QueueError

log = logging.getLogger(__name__)

INDIRECT_DESC, EVENT_IDX, VERSION_1 = 1 << 28, 1 << 29, 1 << 32


AT_ONCE = 4 * SIZE_MAX  # requests of one queue; no driver has so many by itself


class Status(IntFlag):
    """The device status field."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    NEEDS_RESET = 64
    FAILED = 128


class VirtioDevice:
    """Queues, features and configuration; a kind of device says what it does with a request.

    The transport sets `on_used` (a queue has news) and `on_config` (the configuration or the status changed); the board
    `on_left`: a driver that fills a queue as fast as it is emptied has to let others go first, until `resume`.
    """

    KIND = 0  # "Device Types"
    NAME = "device"
    QUEUES = 1
    PCI_CLASS = 0xFF_00_00

    def __init__(self, dma: Dma, features: int = 0) -> None:
        self.dma = dma
        self.features = features | VERSION_1 | INDIRECT_DESC | EVENT_IDX
        self.queues = tuple(Queue(dma) for _ in range(self.QUEUES))
        self.status = Status(0)
        self.accepted = 0
        self.on_used: Callable[[Queue], None] = lambda queue: None
        self.on_config: Callable[[], None] = lambda: None
        self.on_left: Callable[[], None] = lambda: None
        self._left: set[int] = set()

    # For the kinds of devices.

    def configuration(self) -> bytes:
        """The device-specific configuration."""
        return b""

    def handle(self, number: int, chain: Chain) -> int:
        """Do a request of queue `number`; how many bytes were written into it."""
        raise NotImplementedError

    def forget(self) -> None:
        """A reset: drop what belongs to requests."""

    # For the transport.

    def set_status(self, value: int) -> None:
        """The driver writes the status: 0 resets; FEATURES_OK holds only if we can live with what was accepted."""
        if value == 0:
            self.reset()
            return
        if value & Status.FEATURES_OK and not self.status & Status.FEATURES_OK and not self._features_fit():
            value &= ~Status.FEATURES_OK
        self.status = Status(value | self.status & Status.NEEDS_RESET)

    def reset(self) -> None:
        self.status = Status(0)
        self.accepted = 0
        for queue in self.queues:
            queue.reset()
        self.forget()

    def accept(self, features: int) -> None:
        """The driver chooses features; after FEATURES_OK it is too late."""
        if not self.status & Status.FEATURES_OK:
            self.accepted = features

    def enable(self, number: int) -> None:
        """The driver says that a queue is set up."""
        try:
            self.queues[number].start()
        except QueueError as error:
            self.fail(f"queue {number} has {error}")

    def notify(self, number: int) -> None:
        """The driver has put something into a queue."""
        if self.status & (Status.NEEDS_RESET | Status.DRIVER_OK) != Status.DRIVER_OK or number >= len(self.queues):
            return
        queue = self.queues[number]
        if not queue.ready:
            return
        try:
            self._serve(number, queue)
        except QueueError as error:
            self.fail(f"queue {number}: {error}")
        except BadAddress as error:  # memory that was there when it was checked
            self.fail(f"queue {number}: {error}")

    def resume(self) -> None:
        """Go on with what was left when a queue had more than is done at once."""
        while self._left:
            self.notify(self._left.pop())
            if self._left:
                return

    def fail(self, why: str) -> None:
        """What the driver did cannot be: the device stops until it is reset, and says so."""
        log.warning("virtio %s: %s; the device needs a reset", self.NAME, why)
        self.status |= Status.NEEDS_RESET
        self.on_config()

    @property
    def active(self) -> bool:
        return self.status & (Status.NEEDS_RESET | Status.DRIVER_OK) == Status.DRIVER_OK

    def _features_fit(self) -> bool:
        return bool(self.accepted & VERSION_1) and not self.accepted & ~self.features

    def _serve(self, number: int, queue: Queue) -> None:
        indirect, event_index = bool(self.accepted & INDIRECT_DESC), bool(self.accepted & EVENT_IDX)
        used = 0
        while self.wants(number) and (chain := queue.pop(indirect, event_index)):
            written = self.handle(number, chain)
            queue.push(chain, written)
            used += 1
            if used == AT_ONCE:
                self._left.add(number)
                self.on_left()
                break
        if used and queue.wants_interrupt(event_index):
            self.on_used(queue)

    def wants(self, number: int) -> bool:
        """Whether the device can do a request of this queue now."""
        return True

    # Buffers.

    def gather(self, pieces: list[tuple[int, int]], size_bytes: int) -> bytes:
        """The first bytes of the pieces, at most `size_bytes`."""
        data = bytearray()
        for gpa, length in pieces:
            take = min(length, size_bytes - len(data))
            if take <= 0:
                break
            data += self.dma.read(gpa, take)
        return bytes(data)

    def scatter(self, pieces: list[tuple[int, int]], data: bytes) -> int:
        """Fill the pieces with data; how much of it went in."""
        done = 0
        for gpa, length in pieces:
            take = min(length, len(data) - done)
            if take <= 0:
                break
            self.dma.write(gpa, data[done : done + take])
            done += take
        return done
