"""Guest RAM as devices reach it: by GPA, checked, and seen by the processor's decoder when code is written over."""

from __future__ import annotations

from collections.abc import Iterable

from pyhv import GPA, Mapping, VirtualMachine


class BadAddress(Exception):
    """A device was told to reach for what is no RAM. The guest's doing: the device fails, nothing else."""


class _Bank:
    """One piece of RAM, with views of its bytes, and of its 16-bit words for indices that both sides watch."""

    __slots__ = ("bytes", "end", "start", "words")

    def __init__(self, mapping: Mapping) -> None:
        self.start = int(mapping.gpa)
        self.bytes = memoryview(mapping)
        self.words = self.bytes.cast("H")
        self.end = self.start + self.bytes.nbytes


class Dma:
    """Reads and writes of RAM; anything else raises BadAddress, wherever the address came from."""

    def __init__(self, vm: VirtualMachine, ram: Iterable[Mapping]) -> None:
        self._write, self._mark = vm.write, vm.space.mark_written
        self._banks = tuple(_Bank(mapping) for mapping in ram)

    def release(self) -> None:
        """Let go of the memory; no device may use it afterwards."""
        for bank in self._banks:
            bank.words.release()
            bank.bytes.release()
        self._banks = ()

    def check(self, gpa: int, size_bytes: int) -> None:
        """Raises BadAddress unless all of it is RAM."""
        self._bank(gpa, size_bytes)

    def read(self, gpa: int, size_bytes: int) -> bytes:
        bank = self._bank(gpa, size_bytes)
        at = gpa - bank.start
        return bytes(bank.bytes[at : at + size_bytes])

    def write(self, gpa: int, data: bytes) -> None:
        self._bank(gpa, len(data))
        self._write(GPA(gpa), data)

    def load_u16(self, gpa: int) -> int:
        """A word that the guest may change meanwhile, in one access. `gpa` is even."""
        bank = self._bank(gpa, 2)
        return bank.words[gpa - bank.start >> 1]

    def store_u16(self, gpa: int, value: int) -> None:
        """A word that the guest watches, in one access. `gpa` is even."""
        bank = self._bank(gpa, 2)
        bank.words[gpa - bank.start >> 1] = value
        self._mark(gpa, 2)

    def store_plain(self, gpa: int, data: bytes) -> None:
        """Bytes of a structure that is never code, without a look at the decoder."""
        bank = self._bank(gpa, len(data))
        at = gpa - bank.start
        bank.bytes[at : at + len(data)] = data
        if data:
            self._mark(gpa, len(data))

    def _bank(self, gpa: int, size_bytes: int) -> _Bank:
        for bank in self._banks:
            if bank.start <= gpa and gpa + size_bytes <= bank.end:
                return bank
        raise BadAddress(f"gpa {gpa:#x} to {gpa + size_bytes:#x} is not all RAM")
