"""A PC for operating systems: APIC, PCI, ACPI, virtio. The VM brings the interrupt controllers (`apic=True`).

guest-physical                              ports
┌───────────────────────┐ 0x0               0x020-021, 0A0-0A1  8259 pair (the VM's)
│ RAM                   │                   0x040-043  timer (8254), IRQ 0
│ 0xE0000: ACPI tables  │                   0x060, 064 keyboard controller, IRQ 1 (no keys)
│ RAM, up to 3 GiB      │                   0x061      speaker, timer 2
├───────────────────────┤ LOW_RAM_END       0x070-071  clock, IRQ 8 (no alarms)
│ PCI memory window     │ (0xC000_0000)     0x092      A20, fast reset
├───────────────────────┤ 0xFE00_0000
│ PCI configuration     │
├───────────────────────┤ 0xFEC0_0000       0x0E9, 402 debug ports
│ I/O APIC (the VM's)   │                   0x0F4      exit port
├───────────────────────┤ 0xFEE0_0000       0x3F8-3FF  COM1, IRQ 4
│ local APICs (the VM's)│                   0x510-51B  fw_cfg
├───────────────────────┤ 4 GiB             0x600-60B  ACPI power management, IRQ 9
│ the rest of the RAM   │                   0xCF8-CFF  PCI configuration; 0xCF9 resets
└───────────────────────┘
PCI bus 0: slot 0 host bridge, then console, entropy, disks; INTA# of slot n on pin 16 + (n - 1) % 8.
All other ports and addresses: all ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pyhv import VirtualMachine

from ..acpi import tables
from ..acpi.dsdt import Layout
from ..bus import AddressSpace
from ..console import ByteSink, ByteSource, NoInput
from ..devices.cmos import Cmos
from ..devices.debug_port import DebugPort
from ..devices.exit_port import ExitPort
from ..devices.fw_cfg import FwCfg
from ..devices.keyboard import KeyboardController
from ..devices.line import Line
from ..devices.pit import Pit8254
from ..devices.power import BYTES as POWER_BYTES
from ..devices.power import PowerManagement
from ..devices.serial import Uart16550
from ..devices.system_control import SystemControlA, SystemControlB
from ..disk import Disk
from ..dma import Dma
from ..outcome import GuestExited, Outcome, PoweredOff, ResetAsked
from ..pci.host import ConfigMemory, ConfigPorts, PciBus
from ..virtio.block import Block
from ..virtio.console import Console
from ..virtio.device import VirtioDevice
from ..virtio.entropy import Entropy
from ..virtio.pci import VirtioPci
from . import pc

ACPI_AT = 0xE_0000
WINDOW_AT, WINDOW_END = pc.LOW_RAM_END, 0xFE00_0000
CONFIG_AT = WINDOW_END
PORT_FW_CFG, PORT_POWER = 0x510, 0x600
FIRST_PCI_PIN, PCI_PINS = 16, 8


class PcApic:
    """The devices, joined. `on_event` is called, from whichever thread, when `outcome` or `next_event_ns` changed."""

    def __init__(
        self,
        vm: VirtualMachine,
        dma: Dma,
        ram_bytes: int,
        sink: ByteSink,
        source: ByteSource,
        *,
        cpus: int = 1,
        disks: Sequence[Disk] = (),
        virtio_input: bool = False,
        files: Mapping[str, bytes] | None = None,
        started: datetime | None = None,
        random_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        """What `source` gives comes by COM1, or by the virtio console. `started`: the clock's time at VM time 0."""
        self.ports = AddressSpace("port", pc.PORTS)
        self.mmio = AddressSpace("gpa", 1 << vm.gpa_bits)
        self.sink, self.source, self.cpus = sink, source, cpus
        self.outcome: Outcome | None = None
        self.on_event: Callable[[], None] = lambda: None
        self._interrupts, self._clock = vm.interrupts, vm.clock
        self._ranges = pc.ram_ranges(ram_bytes)
        nothing = NoInput()
        self.timer = Pit8254(self._now_ns, self._irq(pc.IRQ_TIMER), self._changed)
        typed = nothing if virtio_input else source
        self.com1 = Uart16550(sink, typed, self._irq(pc.IRQ_COM1), holds_back=True)
        self.console = Console(dma, sink, source if virtio_input else nothing)
        self._attach_ports(files or {}, started or datetime.now(UTC) - self._passed())
        self.bus = PciBus(WINDOW_AT, WINDOW_END - WINDOW_AT)
        self.mmio.attach(self.bus.window, at=WINDOW_AT, size=WINDOW_END - WINDOW_AT)
        self.mmio.attach(ConfigMemory(self.bus), at=CONFIG_AT, size=ConfigMemory.BYTES)
        self._routes: dict[int, int] = {}
        self._devices: list[VirtioDevice] = []
        self._pins = {pin: SharedPin(pin, self._interrupts.set_pin) for pin in range(FIRST_PCI_PIN, 24)}
        self._plug(self.console)
        self._plug(Entropy(dma, random_bytes) if random_bytes else Entropy(dma))
        for disk in disks:
            self._plug(Block(dma, disk))

    def acpi_tables(self) -> bytes:
        """To be put at ACPI_AT."""
        config = (CONFIG_AT, ConfigMemory.BYTES)
        return tables.build(ACPI_AT, Layout(self.cpus, WINDOW_AT, WINDOW_END - WINDOW_AT, self._routes, config))

    def next_event_ns(self) -> int | None:
        """When a device does something by itself, on the VM's clock."""
        return self.timer.next_event_ns()

    def advance(self, now_ns: int) -> None:
        """Let the devices do what is due, and take what was typed."""
        self.timer.advance(now_ns)
        self.com1.poll()
        self.console.poll()
        for device in self._devices:
            device.resume()

    def _attach_ports(self, files: Mapping[str, bytes], started: datetime) -> None:
        keyboard = KeyboardController(NoInput(), self._irq(pc.IRQ_KEYBOARD), self._reset)
        high = self._ranges[1][1] if len(self._ranges) > 1 else 0
        debug = DebugPort(self.sink)
        for device, at, size in (
            (self.timer, pc.PORT_PIT, 4),
            (SystemControlB(self.timer.counters[2]), pc.PORT_SYSTEM_B, 1),
            (keyboard.data, pc.PORT_KEYBOARD_DATA, 1),
            (keyboard.command, pc.PORT_KEYBOARD_COMMAND, 1),
            (Cmos(self._ranges[0][1], high, lambda: started + self._passed()), pc.PORT_CMOS, 2),
            (SystemControlA(self._reset), pc.PORT_SYSTEM_A, 1),
            (debug, pc.PORT_DEBUG, 1),
            (ExitPort(self._exit), pc.PORT_EXIT, pc.PORT_EXIT_BYTES),
            (self.com1, pc.PORT_COM1, 8),
            (debug, pc.PORT_FIRMWARE_DEBUG, 1),
            (FwCfg(files, self.cpus), PORT_FW_CFG, 12),
            (PowerManagement(self._now_ns, self._power_off), PORT_POWER, POWER_BYTES),
        ):
            self.ports.attach(device, at=at, size=size)

    def _plug(self, device: VirtioDevice) -> None:
        if not self._routes:
            self.ports.attach(ConfigPorts(self.bus, self._reset), at=pc.PORT_PCI, size=8)
        self._devices.append(device)
        device.on_left = self._changed
        function = VirtioPci(device, self._interrupts.send_msi)
        slot = self.bus.add(function)
        pin = FIRST_PCI_PIN + (slot - 1) % PCI_PINS
        function.line = self._pins[pin].line()
        function.set_interrupt_line(pin)
        self._routes[slot] = pin

    def _irq(self, number: int) -> Line:
        return Line(lambda level: self._interrupts.set_irq(number, level))

    def _now_ns(self) -> int:
        return self._clock.now_ns

    def _passed(self) -> timedelta:
        return timedelta(microseconds=self._clock.now_ns // 1000)

    def _changed(self) -> None:
        self.on_event()

    def _end(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
        self.on_event()

    def _exit(self, value: int) -> None:
        self._end(GuestExited(value, f"port {pc.PORT_EXIT:#x}"))

    def _reset(self, how: str) -> None:
        self._end(ResetAsked(how))

    def _power_off(self) -> None:
        self._end(PoweredOff())


class SharedPin:
    """A pin of the I/O APIC that several devices pull: it is high while one of them is."""

    def __init__(self, pin: int, set_pin: Callable[[int, bool], None]) -> None:
        self._pin, self._set_pin = pin, set_pin
        self._pulling: set[int] = set()
        self._lines = 0

    def line(self) -> Line:
        """One more device's line."""
        number, self._lines = self._lines, self._lines + 1
        return Line(lambda level: self._pull(number, level))

    def _pull(self, number: int, level: bool) -> None:
        before = bool(self._pulling)
        (self._pulling.add if level else self._pulling.discard)(number)
        if bool(self._pulling) != before:
            self._set_pin(self._pin, level)
