"""Guest-physical memory as slices, in the manner of a bytearray."""

from __future__ import annotations

from pyhv import VirtualMachine


class GuestRam:
    """`ram[a:b]` reads and writes what is mapped at GPAs `a` to `b`; code that was written over is decoded anew."""

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm

    def __getitem__(self, key: slice, /) -> bytes:
        return self._vm.read(key.start, key.stop - key.start)

    def __setitem__(self, key: slice, value: bytes, /) -> None:
        if len(value) != key.stop - key.start:
            raise ValueError(f"{key.stop - key.start} bytes at {key.start:#x} cannot take {len(value)}")
        self._vm.write(key.start, value)
