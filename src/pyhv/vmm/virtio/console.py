"""A console: one port, without the multiport control queues. Virtual I/O Device 1.2, "Console Device"."""

from __future__ import annotations

import struct

from ..console import ByteSink, ByteSource
from ..dma import Dma
from .device import VirtioDevice
from .queue import Chain

RECEIVE, TRANSMIT = 0, 1
FEATURE_SIZE = 1 << 0
PIECE_BYTES = 64 << 10


class Console(VirtioDevice):
    """What the guest sends goes to `sink`; what comes from `source` fills the buffers that it offers."""

    KIND = 3
    NAME = "console"
    QUEUES = 2
    PCI_CLASS = 0x07_80_00

    def __init__(self, dma: Dma, sink: ByteSink, source: ByteSource, columns: int = 80, rows: int = 25) -> None:
        super().__init__(dma, FEATURE_SIZE)
        self._sink, self._source = sink, source
        self._size = (columns, rows)

    def configuration(self) -> bytes:
        return struct.pack("<HHII", *self._size, 1, 0)

    def poll(self) -> None:
        """Something may have been typed."""
        if self.active and self._source.ready():
            self.notify(RECEIVE)

    @property
    def can_interrupt(self) -> bool:
        return self.active and self.queues[RECEIVE].ready and not self._source.ended

    def wants(self, number: int) -> bool:
        return number == TRANSMIT or self._source.ready()

    def handle(self, number: int, chain: Chain) -> int:
        if number == RECEIVE:
            return self.scatter(chain.writable, self._typed(min(chain.writable_bytes, 4096)))
        for gpa, length in chain.readable:
            for start in range(0, length, PIECE_BYTES):
                self._sink.write(self.dma.read(gpa + start, min(length - start, PIECE_BYTES)))
        return 0

    def _typed(self, most: int) -> bytes:
        data = bytearray()
        while len(data) < most and self._source.ready():
            byte = self._source.read()
            if byte is None:
                break
            data.append(byte)
        return bytes(data)
