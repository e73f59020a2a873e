"""A disk. Virtual I/O Device 1.2, "Block Device"."""

from __future__ import annotations

import logging
import struct
from enum import IntEnum

from ..disk import Disk, DiskError
from ..dma import Dma
from .device import VirtioDevice
from .queue import Chain, QueueError

log = logging.getLogger(__name__)

SECTOR = 512
OK, IOERR, UNSUPPORTED = 0, 1, 2
SIZE_MAX, SEG_MAX, RO, BLK_SIZE, CAN_FLUSH, CAN_DISCARD, CAN_WRITE_ZEROES = (1 << n for n in (1, 2, 5, 6, 9, 13, 14))
SEGMENT_BYTES_MAX, SEGMENTS_MAX = 1 << 20, 126
REQUEST_BYTES_MAX = SEGMENT_BYTES_MAX * SEGMENTS_MAX
ERASE_SECTORS_MAX = 1 << 22  # of one segment of a discard or write-zeroes: 2 GiB
ERASE_SEGMENTS_MAX = 16
UNMAP = 1  # flag of a write-zeroes segment
HEADER = struct.Struct("<IIQ")
ERASE = struct.Struct("<QII")
ID_BYTES = 20


class Request(IntEnum):
    """What a request asks for."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    DISCARD = 11
    WRITE_ZEROES = 13


class Block(VirtioDevice):
    """One queue of requests on a Disk. Without the driver's FLUSH every write is on the medium when it is done."""

    KIND = 2
    NAME = "block"
    PCI_CLASS = 0x01_80_00

    def __init__(self, dma: Dma, disk: Disk) -> None:
        features = SIZE_MAX | SEG_MAX | BLK_SIZE | CAN_FLUSH
        features |= RO if disk.read_only else CAN_DISCARD | CAN_WRITE_ZEROES
        super().__init__(dma, features)
        self.disk = disk

    def configuration(self) -> bytes:
        sectors = self.disk.size_bytes // SECTOR
        head = struct.pack("<QIIHBBI", sectors, SEGMENT_BYTES_MAX, SEGMENTS_MAX, 0, 0, 0, SECTOR)
        topology = struct.pack("<BBHI", 0, 0, 0, 0)
        erase = struct.pack("<III", ERASE_SECTORS_MAX, ERASE_SEGMENTS_MAX, 4096 // SECTOR)
        zeroes = struct.pack("<IIB3x", ERASE_SECTORS_MAX, ERASE_SEGMENTS_MAX, 1)
        return head + topology + struct.pack("<BBH", 1, 0, 1) + erase + zeroes

    def handle(self, number: int, chain: Chain) -> int:
        if chain.readable_bytes < HEADER.size or not chain.writable_bytes:
            raise QueueError("a block request without its header of 16 bytes, or without room for its status")
        kind, _, sector = HEADER.unpack(self.gather(chain.readable, HEADER.size))
        room = _first(chain.writable, chain.writable_bytes - 1)
        try:
            status, written = self._do(kind, sector, _behind(chain.readable, HEADER.size), room)
        except DiskError as error:
            log.warning("virtio block: %s", error)
            status, written = IOERR, 0
        gpa, length = next(piece for piece in reversed(chain.writable) if piece[1])
        self.dma.write(gpa + length - 1, bytes((status,)))
        return written + 1

    def _do(self, kind: int, sector: int, data: list[tuple[int, int]], room: list[tuple[int, int]]) -> tuple[int, int]:
        """Status, and how many bytes were written into `room`."""
        match kind:
            case Request.IN:
                return OK, self._read(sector, room)
            case Request.OUT:
                self._write(sector, data)
                return OK, 0
            case Request.FLUSH:
                self.disk.flush()
                return OK, 0
            case Request.GET_ID:
                return OK, self.scatter(room, self.disk.serial.encode()[:ID_BYTES].ljust(ID_BYTES, b"\0"))
            case Request.DISCARD | Request.WRITE_ZEROES if not self.disk.read_only:
                return self._erase(kind, data), 0
            case _:
                return UNSUPPORTED, 0

    def _read(self, sector: int, room: list[tuple[int, int]]) -> int:
        at = self._checked(sector, sum(size for _, size in room))
        for gpa, size in room:
            self.dma.write(gpa, self.disk.read(at, size))
            at += size
        return at - sector * SECTOR

    def _write(self, sector: int, data: list[tuple[int, int]]) -> None:
        at = self._checked(sector, sum(size for _, size in data))
        for gpa, size in data:
            self.disk.write(at, self.dma.read(gpa, size))
            at += size
        if not self.accepted & CAN_FLUSH:
            self.disk.flush()

    def _checked(self, sector: int, size: int) -> int:
        """The byte that a request begins at; raises DiskError unless all of it lies on the disk."""
        if size % SECTOR or size > REQUEST_BYTES_MAX:
            raise DiskError(f"a request of {size} bytes; whole sectors up to {REQUEST_BYTES_MAX} bytes can be")
        self.disk.check(sector * SECTOR, size)
        return sector * SECTOR

    def _erase(self, kind: int, data: list[tuple[int, int]]) -> int:
        size = sum(length for _, length in data)
        if not size or size % ERASE.size or size > ERASE.size * ERASE_SEGMENTS_MAX:
            raise DiskError(f"discard or write-zeroes with {size} bytes of segments of {ERASE.size}")
        segments = list(ERASE.iter_unpack(self.gather(data, size)))
        for sector, sectors, flags in segments:
            if flags & ~(UNMAP if kind == Request.WRITE_ZEROES else 0):
                return UNSUPPORTED
            if sectors > ERASE_SECTORS_MAX:
                raise DiskError(f"discard or write-zeroes of {sectors} sectors; up to {ERASE_SECTORS_MAX} can be")
            self.disk.check(sector * SECTOR, sectors * SECTOR)
        for sector, sectors, flags in segments:
            if kind == Request.DISCARD:
                self.disk.discard(sector * SECTOR, sectors * SECTOR)
            else:
                self.disk.write_zeroes(sector * SECTOR, sectors * SECTOR, unmap=bool(flags & UNMAP))
        if kind == Request.WRITE_ZEROES and not self.accepted & CAN_FLUSH:
            self.disk.flush()
        return OK


def _first(pieces: list[tuple[int, int]], size_bytes: int) -> list[tuple[int, int]]:
    """The pieces up to `size_bytes`."""
    found = []
    for gpa, length in pieces:
        take = min(length, size_bytes)
        if take:
            found.append((gpa, take))
        size_bytes -= take
    return found


def _behind(pieces: list[tuple[int, int]], skip_bytes: int) -> list[tuple[int, int]]:
    """The pieces without their first bytes."""
    found = []
    for gpa, length in pieces:
        skip = min(length, skip_bytes)
        if length > skip:
            found.append((gpa + skip, length - skip))
        skip_bytes -= skip
    return found
