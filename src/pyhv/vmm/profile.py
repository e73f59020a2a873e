"""Where the monitor's time goes: exits and nanoseconds by device."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from pyhv import Exit, MmioLoad, MmioStore, PortIn, PortOut, PortOutMany

from .bus import AddressSpace
from .pci.host import PciWindow


@dataclass(slots=True)
class Cost:
    """What one device has cost."""

    exits: int = 0
    ns: int = 0


class Profile:
    """Counts by the name of the device's class, PCI memory by page."""

    def __init__(self, ports: AddressSpace, mmio: AddressSpace) -> None:
        self._ports, self._mmio = ports, mmio
        self._costs: defaultdict[str, Cost] = defaultdict(Cost)

    def note(self, exit_: Exit, ns: int) -> None:
        """One exit was answered in so many nanoseconds."""
        cost = self._costs[self._name(exit_)]
        cost.exits += 1
        cost.ns += ns

    def table(self) -> list[tuple[str, int, float]]:
        """(device, exits, seconds), the dearest first."""
        rows = [(name, cost.exits, cost.ns / 1e9) for name, cost in self._costs.items()]
        return sorted(rows, key=lambda row: -row[2])

    def _name(self, exit_: Exit) -> str:
        match exit_:
            case PortIn() | PortOut() | PortOutMany():
                found = self._ports.find(exit_.port)
                return type(found.device).__name__ if found else f"nobody at port {exit_.port:#x}"
            case MmioLoad() | MmioStore():
                found = self._mmio.find(exit_.gpa)
                if found and isinstance(found.device, PciWindow):
                    return found.device.name_at(exit_.gpa - found.at)
                return type(found.device).__name__ if found else f"nobody at gpa {exit_.gpa & -4096:#x}"
            case _:
                return type(exit_).__name__
