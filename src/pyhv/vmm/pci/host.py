"""The host bridge: configuration mechanism 1 by ports, and the window in which the functions' memory lies.

PCI Local Bus Specification 3.0, "Software Generation of Configuration Transactions".
"""

from __future__ import annotations

from collections.abc import Callable

from .function import CONFIG_BYTES, PAGE, Command, Identity, PciFunction, Registers

SLOTS = 32
ENABLE = 1 << 31
ADDRESS, RESET_PORT, DATA = 0, 1, 4  # offsets from 0xCF8
RESET_CPU = 0x04
BRIDGE = Identity(vendor=0x8086, device=0x1237, class_code=0x06_00_00, revision=2)  # the 440FX, which Linux knows


class PciBus:
    """Bus 0 with up to 32 single-function devices. Slot 0 is the bridge itself."""

    def __init__(self, window_at: int, window_bytes: int) -> None:
        """BARs are given addresses from `window_at` on, and answer only inside the window."""
        self.window = PciWindow()
        self._window_at, self._window_end = window_at, window_at + window_bytes
        self._free = window_at
        self.slots: dict[int, PciFunction] = {0: PciFunction(BRIDGE)}

    def add(self, function: PciFunction) -> int:
        """Put a function into the next slot and give its BARs addresses; the slot's number."""
        slot = len(self.slots)
        if slot >= SLOTS:
            raise ValueError(f"bus 0 has {SLOTS} slots, and all are taken; fewer devices would do")
        self.slots[slot] = function
        function.on_remap = self._remap
        for bar in function.bars.values():
            self._free = -(-self._free // bar.size_bytes) * bar.size_bytes
            function.assign(bar.number, self._free)
            self._free += bar.size_bytes
        return slot

    def _remap(self) -> None:
        """Some function's memory was moved or switched: lay the window out anew."""
        pages: dict[int, tuple[Registers, int]] = {}
        for function in self.slots.values():
            if not function.command & Command.MEMORY:
                continue
            for bar in function.bars.values():
                at = function.address(bar)
                if self._window_at <= at and at + bar.size_bytes <= self._window_end:
                    for offset in range(0, bar.size_bytes, PAGE):
                        pages.setdefault((at + offset - self._window_at) // PAGE, (bar.registers, offset))
        self.window.pages = pages


class PciWindow:
    """The memory window as a device on the MMIO bus: a page of it belongs to one function."""

    width_bytes = 8

    def __init__(self) -> None:
        self.pages: dict[int, tuple[Registers, int]] = {}

    def read(self, offset: int, size_bytes: int) -> int:
        found = self.pages.get(offset >> 12)
        if found is None:
            return (1 << 8 * size_bytes) - 1
        return found[0].read(found[1] | offset & 0xFFF, size_bytes)

    def name_at(self, offset: int) -> str:
        """Whose memory this is, for a table of costs."""
        found = self.pages.get(offset >> 12)
        return str(found[0]) if found else "nobody in the PCI window"

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        found = self.pages.get(offset >> 12)
        if found is not None:
            found[0].write(found[1] | offset & 0xFFF, size_bytes, value)


class ConfigMemory:
    """The configuration space of bus 0 as memory, a page a function. PCI Firmware Specification 3.3, "ECAM"."""

    width_bytes = 4
    BYTES = 1 << 20

    def __init__(self, bus: PciBus) -> None:
        self._bus = bus

    def read(self, offset: int, size_bytes: int) -> int:
        function, register = self._bus.slots.get(offset >> 15), offset & 0xFFF
        if function is None or offset >> 12 & 7:
            return (1 << 8 * size_bytes) - 1
        return function.read(register, size_bytes) if register < CONFIG_BYTES else 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        function, register = self._bus.slots.get(offset >> 15), offset & 0xFFF
        if function is not None and not offset >> 12 & 7 and register < CONFIG_BYTES:
            function.write(register, size_bytes, value)


class ConfigPorts:
    """Ports 0xCF8 to 0xCFF: address and data of configuration accesses; a byte at 0xCF9 is the reset control."""

    width_bytes = 4

    def __init__(self, bus: PciBus, on_reset: Callable[[str], None]) -> None:
        self._bus, self._on_reset = bus, on_reset
        self._address = 0
        self._reset_control = 0

    def read(self, offset: int, size_bytes: int) -> int:
        ones = (1 << 8 * size_bytes) - 1
        if offset == ADDRESS and size_bytes == 4:
            return self._address
        if offset == RESET_PORT and size_bytes == 1:
            return self._reset_control
        if offset < DATA:
            return ones
        function, register = self._target(offset)
        return function.read(register, size_bytes) & ones if function else ones

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if offset == ADDRESS and size_bytes == 4:
            self._address = value & 0x80FF_FFFC
        elif offset == RESET_PORT and size_bytes == 1:
            self._reset_control = value & ~RESET_CPU
            if value & RESET_CPU:
                self._on_reset("reset control, port 0xCF9")
        elif offset >= DATA:
            function, register = self._target(offset)
            if function:
                function.write(register, size_bytes, value)

    def _target(self, offset: int) -> tuple[PciFunction | None, int]:
        """The addressed function and register; an access never crosses the four data ports."""
        address = self._address
        if not address & ENABLE or address >> 16 & 0xFF or address >> 8 & 7:
            return None, 0
        return self._bus.slots.get(address >> 11 & 0x1F), address & 0xFC | offset & 3
