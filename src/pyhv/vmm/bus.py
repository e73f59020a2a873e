"""Port and MMIO spaces: they find the device behind an address and cut accesses to its width."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Protocol

REMEMBERED = 4096
OFTEN = 1000  # accesses of one address where nobody is that are worth a word


class Device(Protocol):
    """Registers at offsets from wherever a board put the device; it knows neither its address nor the VM.

    `width_bytes` is its widest register: the bus hands wider accesses over in pieces of it, lowest address first.
    """

    width_bytes: int

    def read(self, offset: int, size_bytes: int) -> int: ...
    def write(self, offset: int, size_bytes: int, value: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Attachment:
    """One device and the addresses it answers: `at` … `at + size - 1`."""

    at: int
    size: int
    device: Device

    @property
    def end(self) -> int:
        return self.at + self.size


class AddressSpace:
    """The 65,536 ports, or guest-physical addresses without memory. Where no device is, reads give all ones."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._attached: list[Attachment] = []
        self._starts: list[int] = []
        self._whole: dict[tuple[int, int], tuple[Device, int]] = {}  # accesses that one device takes in one piece
        self._missed: tuple[dict[int, int], dict[int, int]] = ({}, {})  # reads, writes where nobody is

    def attach(self, device: Device, *, at: int, size: int) -> None:
        """Let `device` answer `size` addresses from `at`. Raises ValueError outside the space or over another."""
        new = Attachment(at, size, device)
        if size <= 0 or at < 0 or new.end > self.size:
            raise ValueError(f"{self.name} {at:#x}+{size:#x} lies outside the space of {self.size:#x} addresses")
        index = bisect_right(self._starts, at)
        for other in self._attached[max(index - 1, 0) : index + 1]:
            if at < other.end and other.at < new.end:
                raise ValueError(
                    f"{self.name} {at:#x}+{size:#x} overlaps"
                    f" {type(other.device).__name__} at {other.at:#x}+{other.size:#x}"
                )
        self._attached.insert(index, new)
        self._starts.insert(index, at)
        self._whole.clear()

    def find(self, address: int) -> Attachment | None:
        """The attachment that answers this address, or None."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        found = self._attached[index]
        return found if address < found.end else None

    def read(self, address: int, size_bytes: int) -> int:
        """What the devices put on the bus for this read, little-endian; all ones where there is none."""
        found = self._whole.get((address, size_bytes))
        if found:
            return found[0].read(found[1], size_bytes) & ((1 << 8 * size_bytes) - 1)
        value = 0
        for at, size, shift in self._pieces(address, size_bytes):
            there = self.find(at)
            if not there and at == address:
                self._miss(address, write=False)
            part = there.device.read(at - there.at, size) if there else (1 << 8 * size) - 1
            value |= (part & ((1 << 8 * size) - 1)) << shift
        return value

    def write(self, address: int, size_bytes: int, value: int) -> None:
        """Hand a write to the devices; nobody there: it is lost."""
        found = self._whole.get((address, size_bytes))
        if found:
            found[0].write(found[1], size_bytes, value)
            return
        for at, size, shift in self._pieces(address, size_bytes):
            there = self.find(at)
            if not there and at == address:
                self._miss(address, write=True)
            elif there:
                there.device.write(at - there.at, size, value >> shift & ((1 << 8 * size) - 1))

    def unanswered(self) -> list[str]:
        """A line for the address that was most often read, or written, where no device is: if it was often."""
        lines = []
        for missed, what in zip(self._missed, ("read", "written"), strict=True):
            address = max(missed, key=missed.__getitem__, default=None)
            if address is not None and missed[address] >= OFTEN:
                then = "it reads as ones" if what == "read" else "what is written there is lost"
                lines.append(
                    f"{self.name} {address:#x} was {what} {missed[address]:,} times; no device is there, {then}"
                )
        return lines

    def _miss(self, address: int, *, write: bool) -> None:
        missed = self._missed[write]
        if address in missed or len(missed) < REMEMBERED:
            missed[address] = missed.get(address, 0) + 1

    def _pieces(self, address: int, size_bytes: int) -> list[tuple[int, int, int]]:
        """(address, size, shift) of each piece; nearly always one."""
        found = self.find(address)
        if found and size_bytes <= found.device.width_bytes and address + size_bytes <= found.end:
            if len(self._whole) < REMEMBERED:
                self._whole[address, size_bytes] = (found.device, address - found.at)
            return [(address, size_bytes, 0)]
        pieces, at, left = [], address, size_bytes
        while left:
            found = self.find(at)
            size = min(left, found.device.width_bytes, found.end - at) if found else 1
            pieces.append((at, size, 8 * (at - address)))
            at, left = at + size, left - size
        return pieces
