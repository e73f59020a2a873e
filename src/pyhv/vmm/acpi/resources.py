"""Resource descriptors, the contents of a _CRS. ACPI 6.4, "Resource Data Types for ACPI"."""

from __future__ import annotations

import struct

from . import aml

END_TAG = b"\x79\x00"
DECODE_16 = 1
BUS, MEMORY = 2, 0
PRODUCER, MIN_FIXED, MAX_FIXED = 0x00, 0x04, 0x08
CACHELESS_READ_WRITE = 0x01


def template(*descriptors: bytes) -> bytes:
    """`ResourceTemplate () { … }`."""
    return aml.buffer(b"".join(descriptors) + END_TAG)


def io(at: int, size: int) -> bytes:
    """Ports at a fixed place."""
    return struct.pack("<BBHHBB", 0x47, DECODE_16, at, at, 1, size)


def irq(number: int) -> bytes:
    """An ISA interrupt line: edge, active high."""
    return struct.pack("<BH", 0x22, 1 << number)


def fixed_memory(at: int, size: int) -> bytes:
    """`Memory32Fixed`, writable."""
    return struct.pack("<BHBII", 0x86, 9, 1, at, size)


def bus_numbers(first: int, last: int) -> bytes:
    """What a host bridge hands on: `WordBusNumber`."""
    flags = PRODUCER | MIN_FIXED | MAX_FIXED
    return struct.pack("<BHBBB5H", 0x88, 13, BUS, flags, 0, 0, first, last, 0, last - first + 1)


def memory_window(first: int, size: int) -> bytes:
    """What a host bridge hands on: `DWordMemory`."""
    flags = PRODUCER | MIN_FIXED | MAX_FIXED
    last = first + size - 1
    return struct.pack("<BHBBB5I", 0x87, 23, MEMORY, flags, CACHELESS_READ_WRITE, 0, first, last, 0, size)
