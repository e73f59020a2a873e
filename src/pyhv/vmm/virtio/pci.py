"""A virtio device as a PCI function, modern only. Virtual I/O Device 1.2, "Virtio Over PCI Bus".

BAR 0, a page each: common configuration, interrupt status, device configuration, notifications, MSI-X table, pending.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum

from ..devices.line import Line
from ..pci.function import PAGE, Bar, Command, Identity, PciFunction
from ..pci.msix import CAPABILITY as MSIX
from ..pci.msix import MsixTable
from .device import Status, VirtioDevice
from .queue import Queue

VENDOR, FIRST_DEVICE = 0x1AF4, 0x1040
VENDOR_CAPABILITY = 0x09
COMMON, ISR, DEVICE, NOTIFY, TABLE, PENDING = range(6)  # pages of BAR 0
BAR_BYTES = 8 * PAGE
NOTIFY_MULTIPLIER = 4
NO_VECTOR = 0xFFFF
ISR_QUEUE, ISR_CONFIG = 1, 2
COMMON_BYTES = 64


class Kind(IntEnum):
    """Types of the vendor capability."""

    COMMON = 1
    NOTIFY = 2
    ISR = 3
    DEVICE = 4
    PCI_ACCESS = 5


class VirtioPci(PciFunction):
    """The function; it is also what lies behind its BAR."""

    def __init__(self, device: VirtioDevice, send_msi: Callable[[int, int], None], line: Line | None = None) -> None:
        identity = Identity(VENDOR, FIRST_DEVICE + device.KIND, device.PCI_CLASS, 1, VENDOR, 0x1100)
        super().__init__(identity, interrupt_pin=1)
        self.device = device
        self.line = line or Line()
        self.msix = MsixTable(len(device.queues) + 1, send_msi)
        self._isr = 0
        self._config_vector = NO_VECTOR
        self._feature_select = self._driver_select = self._queue_select = 0
        self._generation = 0
        device.on_used, device.on_config = self._queue_used, self._config_changed
        self.add_bar(Bar(0, BAR_BYTES, _BarSpace(self)))
        self._add_capabilities()

    def _add_capabilities(self) -> None:
        sizes = ((Kind.COMMON, COMMON, COMMON_BYTES), (Kind.ISR, ISR, 1), (Kind.DEVICE, DEVICE, PAGE))
        for kind, page, size in sizes:
            self.add_capability(VENDOR_CAPABILITY, _body(kind, page * PAGE, size))
        notify_bytes = NOTIFY_MULTIPLIER * len(self.device.queues)
        multiplier = struct.pack("<I", NOTIFY_MULTIPLIER)
        self.add_capability(VENDOR_CAPABILITY, _body(Kind.NOTIFY, NOTIFY * PAGE, notify_bytes, multiplier))
        writable = b"\0\0\xff\0\0\0" + b"\xff" * 12
        self._access = self.add_capability(VENDOR_CAPABILITY, _body(Kind.PCI_ACCESS, 0, 0, bytes(4)), writable)
        self._msix_at = self.add_capability(MSIX, *self.msix.capability(0, TABLE * PAGE, PENDING * PAGE))

    # Configuration space.

    def read(self, offset: int, size_bytes: int) -> int:
        if self._access + 16 <= offset < self._access + 20:
            return self._through_access(size_bytes, None)
        return super().read(offset, size_bytes)

    def written(self, offset: int, size_bytes: int) -> None:
        if offset < self._msix_at + 4 and offset + size_bytes > self._msix_at + 2:
            self.msix.set_control(self.get(self._msix_at + 2, 2))
        elif self._access + 16 <= offset < self._access + 20:
            self._through_access(size_bytes, self.get(offset, size_bytes))

    def _through_access(self, size_bytes: int, value: int | None) -> int:
        """The capability for a guest that cannot reach memory: it names a place in the BAR. Else all ones."""
        bar, at, length = self.get(self._access + 4, 1), self.get(self._access + 8, 4), self.get(self._access + 12, 4)
        ones = (1 << 8 * size_bytes) - 1
        if bar or length not in (1, 2, 4) or length != size_bytes or at % length or at + length > BAR_BYTES:
            return ones
        if value is None:
            return self.read_bar(at, length) & ones
        self.write_bar(at, length, value)
        return 0

    # BAR 0.

    def read_bar(self, offset: int, size_bytes: int) -> int:
        page, at = offset >> 12, offset & 0xFFF
        if page == ISR:
            return self._take_isr() if at == 0 else 0
        if page == COMMON:
            return int.from_bytes(self._common()[at : at + size_bytes], "little")
        if page == DEVICE:
            return int.from_bytes(self.device.configuration()[at : at + size_bytes], "little")
        if page == TABLE:
            return self.msix.read_table(at, size_bytes)
        return self.msix.read_pending(at, size_bytes) if page == PENDING else 0

    def write_bar(self, offset: int, size_bytes: int, value: int) -> None:
        page, at = offset >> 12, offset & 0xFFF
        if page == NOTIFY:
            if self.command & Command.BUS_MASTER:
                self.device.notify(at // NOTIFY_MULTIPLIER)
        elif page == TABLE:
            self.msix.write_table(at, size_bytes, value)
        elif page == COMMON:
            self._write_common(at, size_bytes, value)

    def _take_isr(self) -> int:
        value, self._isr = self._isr, 0
        self.line.set(False)
        return value

    def _common(self) -> bytes:
        """The common configuration as it reads now."""
        device, queue = self.device, self._queue
        shift = 32 * self._feature_select
        features = device.features >> shift & 0xFFFF_FFFF if self._feature_select < 2 else 0
        accepted = device.accepted >> 32 * self._driver_select & 0xFFFF_FFFF if self._driver_select < 2 else 0
        head = struct.pack(
            "<IIIIHHBBH",
            self._feature_select,
            features,
            self._driver_select,
            accepted,
            self._config_vector,
            len(device.queues),
            device.status,
            self._generation,
            self._queue_select,
        )
        if queue is None:
            return head.ljust(COMMON_BYTES, b"\0")
        places = (queue.descriptors, queue.available, queue.used)
        body = struct.pack("<HHHH3Q", queue.size, queue.vector, queue.ready, self._queue_select, *places)
        return (head + body).ljust(COMMON_BYTES, b"\0")

    @property
    def _queue(self) -> Queue | None:
        queues = self.device.queues
        return queues[self._queue_select] if self._queue_select < len(queues) else None

    def _write_common(self, at: int, size_bytes: int, value: int) -> None:
        match at:
            case 0:
                self._feature_select = value
            case 8:
                self._driver_select = value
            case 12:
                self._accept(value)
            case 16:
                self._config_vector = self._vector(value)
            case 20:
                self._set_status(value & 0xFF)
            case 22:
                self._queue_select = value
            case _:
                queue = self._queue
                if queue is not None:
                    self._write_queue(queue, at, size_bytes, value)

    def _write_queue(self, queue: Queue, at: int, size_bytes: int, value: int) -> None:
        if at == 26:
            queue.vector = self._vector(value)
        elif queue.ready:
            return  # what is set up stays until a reset
        elif at == 24:
            queue.size = value
        elif at == 28 and value == 1:
            self.device.enable(self._queue_select)
        elif 32 <= at < 56:
            name = ("descriptors", "available", "used")[(at - 32) // 8]
            shift, mask = 8 * (at % 8), (1 << 8 * size_bytes) - 1
            kept = getattr(queue, name) & ~(mask << shift)
            setattr(queue, name, (kept | (value & mask) << shift) & (1 << 64) - 1)

    def _accept(self, value: int) -> None:
        if self._driver_select < 2:
            shift = 32 * self._driver_select
            self.device.accept(self.device.accepted & ~(0xFFFF_FFFF << shift) | (value & 0xFFFF_FFFF) << shift)

    def _vector(self, value: int) -> int:
        """A vector that the table does not have reads back as none, which tells the driver."""
        return value if value < self.msix.vectors else NO_VECTOR

    def _set_status(self, value: int) -> None:
        self.device.set_status(value)
        if value == 0:
            self._config_vector = NO_VECTOR
            self._feature_select = self._driver_select = self._queue_select = 0
            self._take_isr()

    # Interrupts.

    def _queue_used(self, queue: Queue) -> None:
        self._interrupt(ISR_QUEUE, queue.vector)

    def _config_changed(self) -> None:
        self._generation = (self._generation + 1) & 0xFF
        if self.device.status & Status.DRIVER_OK:
            self._interrupt(ISR_CONFIG, self._config_vector)

    def _interrupt(self, reason: int, vector: int) -> None:
        if self.msix.enabled:
            self.msix.fire(vector)
            return
        self._isr |= reason
        if not self.command & Command.INTX_DISABLE:
            self.line.set(True)


class _BarSpace:
    """BAR 0 as registers."""

    def __init__(self, function: VirtioPci) -> None:
        self.read, self.write = function.read_bar, function.write_bar
        self._name = f"virtio {function.device.NAME}"

    def __str__(self) -> str:
        return self._name


def _body(kind: Kind, offset: int, size_bytes: int, more: bytes = b"") -> bytes:
    """A vendor capability behind its first two bytes; BAR 0."""
    return struct.pack("<BBB3xII", 16 + len(more), kind, 0, offset, size_bytes) + more
