"""A virtio driver of our own, that can lie: it works the PCI function as Linux does, or writes what it likes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pyhv import VirtualMachine
from pyhv.vmm.dma import Dma
from pyhv.vmm.pci.host import ConfigPorts, PciBus
from pyhv.vmm.virtio.device import Status, VirtioDevice
from pyhv.vmm.virtio.pci import COMMON, DEVICE, ISR, NOTIFY, PAGE, TABLE, VirtioPci
from pyhv.vmm.virtio.queue import INDIRECT, NEXT, WRITE

RAM_BYTES = 1 << 20
WINDOW_AT, WINDOW_BYTES = 0xC000_0000, 1 << 24
TABLES_AT, DATA_AT = 0x1000, 0x10000
SIZE = 16
ALL = (1 << 64) - 1


class Memory:
    """A VM's RAM without a processor."""

    def __init__(self) -> None:
        self.vm = VirtualMachine("soft")
        self.ram = self.vm.map(at=0, size=RAM_BYTES)
        self.dma = Dma(self.vm, [self.ram])

    def close(self) -> None:
        self.dma.release()
        self.vm.__exit__(None, None, None)


@dataclass
class QueuePlaces:
    """Where the driver put a queue, and how far it is."""

    at: int
    size: int = SIZE
    available_index: int = 0
    next_descriptor: int = 0
    data: int = field(default=0)

    @property
    def available(self) -> int:
        return self.at + 16 * self.size

    @property
    def used(self) -> int:
        return (self.available + 6 + 2 * self.size + 3) & ~3


class Driver:
    """Works one device through its function on a bus of its own."""

    def __init__(self, memory: Memory, device: VirtioDevice) -> None:
        self.memory, self.device = memory, device
        self.messages: list[tuple[int, int]] = []
        self.function = VirtioPci(device, lambda address, data: self.messages.append((address, data)))
        self.bus = PciBus(WINDOW_AT, WINDOW_BYTES)
        self.slot = self.bus.add(self.function)
        self.ports = ConfigPorts(self.bus, lambda how: None)
        self.bar = self.read_config(0x10, 4)
        self.queues: dict[int, QueuePlaces] = {}

    # Configuration space and registers.

    def read_config(self, at: int, size: int) -> int:
        self.ports.write(0, 4, 1 << 31 | self.slot << 11 | at & ~3)
        return self.ports.read(4 + (at & 3), size)

    def write_config(self, at: int, size: int, value: int) -> None:
        self.ports.write(0, 4, 1 << 31 | self.slot << 11 | at & ~3)
        self.ports.write(4 + (at & 3), size, value)

    def read(self, page: int, at: int, size: int) -> int:
        return self.bus.window.read(self.bar - WINDOW_AT + page * PAGE + at, size)

    def write(self, page: int, at: int, size: int, value: int) -> None:
        self.bus.window.write(self.bar - WINDOW_AT + page * PAGE + at, size, value)

    @property
    def status(self) -> int:
        return self.read(COMMON, 20, 1)

    # As a driver does it.

    def start(self, features: int = ALL, queues: int | None = None) -> None:
        """Reset, negotiate, set up the queues, and go."""
        self.write_config(4, 2, 6)
        self.write(COMMON, 20, 1, 0)
        self.write(COMMON, 20, 1, Status.ACKNOWLEDGE | Status.DRIVER)
        offered = 0
        for half in range(2):
            self.write(COMMON, 0, 4, half)
            offered |= self.read(COMMON, 4, 4) << 32 * half
        for half in range(2):
            self.write(COMMON, 8, 4, half)
            self.write(COMMON, 12, 4, (features & offered) >> 32 * half & 0xFFFF_FFFF)
        self.write(COMMON, 20, 1, Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK)
        for number in range(self.read(COMMON, 18, 2) if queues is None else queues):
            self.set_up(number)
        self.write(COMMON, 20, 1, self.status | Status.DRIVER_OK)

    def set_up(self, number: int, at: int | None = None, size: int = SIZE) -> QueuePlaces:
        places = QueuePlaces(TABLES_AT + 0x1000 * number if at is None else at, size)
        self.queues[number] = places
        self.write(COMMON, 22, 2, number)
        self.write(COMMON, 24, 2, size)
        for offset, place in ((32, places.at), (40, places.available), (48, places.used)):
            self.write(COMMON, offset, 4, place & 0xFFFF_FFFF)
            self.write(COMMON, offset + 4, 4, place >> 32)
        self.write(COMMON, 26, 2, number)
        self.write(COMMON, 28, 2, 1)
        return places

    def enable_msix(self) -> None:
        """Vector n sends data 0x40 + n."""
        for vector in range(self.function.msix.vectors):
            for offset, value in ((0, 0xFEE0_0000), (4, 0), (8, 0x40 + vector), (12, 0)):
                self.write(TABLE, 16 * vector + offset, 4, value)
        self.write_config(self.function._msix_at + 2, 2, 0x8000)

    def descriptor(self, queue: int, index: int, gpa: int, length: int, *more: int) -> None:
        """`more`: flags, and the next one."""
        at = self.queues[queue].at + 16 * index
        self.memory.ram[at : at + 16] = struct.pack("<QIHH", gpa, length, *more, *(0,) * (2 - len(more)))

    def offer(self, queue: int, head: int, *, notify: bool = True) -> None:
        """Put a chain into the available ring."""
        places, ram = self.queues[queue], self.memory.ram
        slot = places.available + 4 + 2 * (places.available_index % places.size)
        ram[slot : slot + 2] = head.to_bytes(2, "little")
        places.available_index = (places.available_index + 1) & 0xFFFF
        self.set_available_index(queue, places.available_index)
        if notify:
            self.notify(queue)

    def set_available_index(self, queue: int, index: int) -> None:
        at = self.queues[queue].available + 2
        self.memory.ram[at : at + 2] = index.to_bytes(2, "little")

    def notify(self, queue: int) -> None:
        self.write(NOTIFY, 4 * queue, 2, queue)

    def used(self, queue: int) -> list[tuple[int, int]]:
        """(head, bytes written) of everything that came back."""
        places, ram = self.queues[queue], self.memory.ram
        count = int.from_bytes(ram[places.used + 2 : places.used + 4], "little")
        entries = (places.used + 4 + 8 * (number % places.size) for number in range(count))
        return [struct.unpack("<II", bytes(ram[at : at + 8])) for at in entries]  # type: ignore[misc]

    def request(self, queue: int, readable: list[bytes], writable: list[int], *, indirect: bool = False) -> list[bytes]:
        """A chain of such buffers; what the device wrote into them."""
        places, pieces, at = self.queues[queue], [], DATA_AT
        for data in readable:
            self.memory.ram[at : at + len(data)] = data
            pieces.append((at, len(data), 0))
            at += (len(data) + 15) & ~15
        for size in writable:
            self.memory.ram[at : at + size] = b"\xaa" * size
            pieces.append((at, size, WRITE))
            at += (size + 15) & ~15
        chain = b"".join(
            struct.pack("<QIHH", gpa, size, flags | (NEXT if n + 1 < len(pieces) else 0), n + 1)
            for n, (gpa, size, flags) in enumerate(pieces)
        )
        if indirect:
            self.memory.ram[at : at + len(chain)] = chain
            self.descriptor(queue, 0, at, len(chain), INDIRECT)
        else:
            self.memory.ram[places.at : places.at + len(chain)] = chain
        self.offer(queue, 0)
        return [bytes(self.memory.ram[gpa : gpa + size]) for gpa, size, flags in pieces if flags & WRITE]

    def isr(self) -> int:
        return self.read(ISR, 0, 1)

    def configuration(self, at: int, size: int) -> int:
        return self.read(DEVICE, at, size)
