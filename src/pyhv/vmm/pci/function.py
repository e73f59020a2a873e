"""One PCI function: its configuration space, base addresses and capabilities.

PCI Local Bus Specification 3.0, "Configuration Space".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Protocol

CONFIG_BYTES = 256
PAGE = 4096
FIRST_CAPABILITY = 0x40
BARS = 6


class Register(IntEnum):
    """Offsets in the header of type 0."""

    VENDOR = 0x00
    DEVICE = 0x02
    COMMAND = 0x04
    STATUS = 0x06
    REVISION = 0x08
    CLASS = 0x09
    HEADER_TYPE = 0x0E
    BAR = 0x10
    SUBSYSTEM_VENDOR = 0x2C
    SUBSYSTEM = 0x2E
    CAPABILITIES = 0x34
    INTERRUPT_LINE = 0x3C
    INTERRUPT_PIN = 0x3D


class Command(IntFlag):
    IO = 0x001
    MEMORY = 0x002
    BUS_MASTER = 0x004
    INTX_DISABLE = 0x400


BAR_START, BAR_END = Register.BAR, Register.BAR + 4 * BARS
HAS_CAPABILITIES = 0x10  # in STATUS
COMMAND_WRITABLE = Command.IO | Command.MEMORY | Command.BUS_MASTER | Command.INTX_DISABLE


class Registers(Protocol):
    """What lies behind a base address."""

    def read(self, offset: int, size_bytes: int) -> int: ...
    def write(self, offset: int, size_bytes: int, value: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Bar:
    """32-bit memory space of `size_bytes` (a power of two, whole pages), not prefetchable."""

    number: int
    size_bytes: int
    registers: Registers


@dataclass(frozen=True, slots=True)
class Identity:
    """What the function says it is."""

    vendor: int
    device: int
    class_code: int
    revision: int = 0
    subsystem_vendor: int = 0
    subsystem: int = 0


class PciFunction:
    """A configuration space of 256 bytes; what the guest may change of it is a mask."""

    def __init__(self, identity: Identity, *, interrupt_pin: int = 0) -> None:
        """`interrupt_pin`: 1 is INTA#, 0 none."""
        self._bytes = bytearray(CONFIG_BYTES)
        self._writable = bytearray(CONFIG_BYTES)
        self._next_capability = FIRST_CAPABILITY
        self._last_link = int(Register.CAPABILITIES)
        self.bars: dict[int, Bar] = {}
        self.on_remap: Callable[[], None] = lambda: None
        for at, size, value in (
            (Register.VENDOR, 2, identity.vendor),
            (Register.DEVICE, 2, identity.device),
            (Register.REVISION, 1, identity.revision),
            (Register.CLASS, 3, identity.class_code),
            (Register.SUBSYSTEM_VENDOR, 2, identity.subsystem_vendor),
            (Register.SUBSYSTEM, 2, identity.subsystem),
            (Register.INTERRUPT_PIN, 1, interrupt_pin),
        ):
            self._put(at, size, value)
        self._allow(Register.COMMAND, 2, COMMAND_WRITABLE)
        self._allow(Register.INTERRUPT_LINE, 1, 0xFF)

    # For who builds the function.

    def add_bar(self, bar: Bar) -> None:
        if bar.size_bytes & (bar.size_bytes - 1) or bar.size_bytes < PAGE or not 0 <= bar.number < BARS:
            raise ValueError(f"BAR {bar.number} of {bar.size_bytes:#x} bytes; powers of two from {PAGE:#x} up can be")
        self.bars[bar.number] = bar
        self._allow(Register.BAR + 4 * bar.number, 4, 0xFFFF_FFFF & -bar.size_bytes)

    def add_capability(self, kind: int, body: bytes, writable: bytes = b"") -> int:
        """Append to the list; `writable` is a mask over `body`. Gives its offset."""
        at = self._next_capability
        if at + 2 + len(body) > CONFIG_BYTES:
            raise ValueError("the capabilities do not fit into 256 bytes of configuration space")
        self._bytes[at : at + 2 + len(body)] = bytes((kind, 0)) + body
        self._writable[at + 2 : at + 2 + len(writable)] = writable
        self._bytes[self._last_link] = at
        self._last_link = at + 1
        self._next_capability = (at + 2 + len(body) + 3) & ~3
        self._put(Register.STATUS, 2, HAS_CAPABILITIES)
        return at

    def assign(self, number: int, address: int) -> None:
        """Give a BAR its address, as firmware does, and switch memory decoding on."""
        self._put(Register.BAR + 4 * number, 4, address)
        self._put(Register.COMMAND, 2, self.command | Command.MEMORY)
        self.on_remap()

    def set_interrupt_line(self, value: int) -> None:
        self._put(Register.INTERRUPT_LINE, 1, value)

    # What the guest made of it.

    @property
    def command(self) -> Command:
        return Command(self.get(Register.COMMAND, 2))

    def address(self, bar: Bar) -> int:
        return self.get(Register.BAR + 4 * bar.number, 4) & ~0xF

    def get(self, at: int, size_bytes: int) -> int:
        return int.from_bytes(self._bytes[at : at + size_bytes], "little")

    # For the host bridge.

    def read(self, offset: int, size_bytes: int) -> int:
        """A kind of function whose registers are alive answers them itself first."""
        return self.get(offset, size_bytes)

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        """Change what may be changed; a move of memory is told to the host bridge, the rest to `written`."""
        before = self._mapping()
        for index in range(size_bytes):
            mask = self._writable[offset + index]
            byte = value >> 8 * index & 0xFF
            self._bytes[offset + index] = self._bytes[offset + index] & ~mask | byte & mask
        if self._mapping() != before:
            self.on_remap()
        self.written(offset, size_bytes)

    def written(self, offset: int, size_bytes: int) -> None:
        """The guest wrote these bytes: for kinds of functions that act on it."""

    def _mapping(self) -> bytes:
        """What decides where the function's memory answers."""
        return bytes(self._bytes[Register.COMMAND : Register.COMMAND + 2] + self._bytes[BAR_START:BAR_END])

    def _put(self, at: int, size_bytes: int, value: int) -> None:
        self._bytes[at : at + size_bytes] = value.to_bytes(size_bytes, "little")

    def _allow(self, at: int, size_bytes: int, mask: int) -> None:
        self._writable[at : at + size_bytes] = mask.to_bytes(size_bytes, "little")
