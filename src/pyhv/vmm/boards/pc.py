"""A PC with a text screen and a keyboard, without disks or PCI: for boot sectors, kernels, firmware.

guest-physical                              ports
┌───────────────────────┐ 0x0               0x020-021  interrupt controller, master
│ RAM, up to 3 GiB      │                   0x040-043  timer
│ (text screen 0xB8000) │                   0x060, 064 keyboard controller
├───────────────────────┤ LOW_RAM_END       0x061      speaker, timer 2
│ (0xC000_0000)         │
│ nothing: reads give   │                   0x070-071  clock and CMOS memory
│ all ones              │                   0x092      A20, fast reset
├───────────────────────┤ 4 GiB - size      0x0A0-0A1  interrupt controller, slave
│ firmware ROM, if any  │                   0x0E9      debug port
├───────────────────────┤ 4 GiB             0x0F4      exit port
│ the rest of the RAM   │                   0x3F8-3FF  COM1
└───────────────────────┘                   0x402      debug port of firmware
                                            0x3D4-3DA  text screen: CRTC, retrace
                                            0x4D0-4D1  edge or level
                                            0xCF8-CFF  PCI without devices; 0xCF9 resets
IRQ 0 timer, IRQ 1 keyboard, IRQ 4 COM1. All other ports: all ones.
"""

from __future__ import annotations

from collections.abc import Callable

from ..bus import AddressSpace
from ..console import ByteSink, ByteSource, NoInput
from ..devices.cmos import Cmos
from ..devices.crtc import Crtc, InputStatus
from ..devices.debug_port import DebugPort
from ..devices.exit_port import ExitPort
from ..devices.keyboard import KeyboardController
from ..devices.pic import EdgeLevel, PicPair
from ..devices.pit import Pit8254
from ..devices.serial import Uart16550
from ..devices.system_control import PciPorts, SystemControlA, SystemControlB
from ..outcome import GuestExited, Outcome, ResetAsked

LOW_RAM_END = 0xC000_0000
HIGH_RAM_START = 1 << 32

PORT_PIC_MASTER, PORT_PIC_SLAVE = 0x20, 0xA0
PORT_PIT = 0x40
PORT_SYSTEM_B, PORT_SYSTEM_A = 0x61, 0x92
PORT_KEYBOARD_DATA, PORT_KEYBOARD_COMMAND = 0x60, 0x64
PORT_CMOS = 0x70
PORT_DEBUG, PORT_FIRMWARE_DEBUG = 0xE9, 0x402
PORT_EXIT, PORT_EXIT_BYTES = 0xF4, 4
PORT_COM1 = 0x3F8
PORT_CRTC, PORT_INPUT_STATUS = 0x3D4, 0x3DA
PORT_EDGE_LEVEL = 0x4D0
PORT_PCI = 0xCF8

IRQ_TIMER, IRQ_KEYBOARD, IRQ_COM1 = 0, 1, 4
PORTS = 1 << 16


def ram_ranges(ram_bytes: int) -> tuple[tuple[int, int], ...]:
    """(GPA, bytes) of the RAM: below the device space, and the rest from 4 GiB."""
    low = min(ram_bytes, LOW_RAM_END)
    return ((0, low), (HIGH_RAM_START, ram_bytes - low)) if ram_bytes > low else ((0, low),)


class Pc:
    """The devices, joined.

    `attention`: something changed that the loop has to look at; it clears this. `outcome`: the guest ended the run.
    """

    def __init__(
        self,
        ram_bytes: int,
        now_ns: Callable[[], int],
        sink: ByteSink,
        source: ByteSource,
        mmio_bytes: int = 1 << 46,
        *,
        by_keyboard: bool = False,
    ) -> None:
        """What `source` gives comes by COM1, or `by_keyboard` from the keyboard."""
        self.ports = AddressSpace("port", PORTS)
        self.mmio = AddressSpace("gpa", mmio_bytes)
        self.sink, self.source = sink, source
        self.outcome: Outcome | None = None
        self.attention = True
        self.pics = PicPair(self.ring)
        self.timer = Pit8254(now_ns, self.pics.line(IRQ_TIMER), self.ring)
        self.crtc = Crtc()
        nothing = NoInput()
        keys, line = (source, nothing) if by_keyboard else (nothing, source)
        self.keyboard = KeyboardController(keys, self.pics.line(IRQ_KEYBOARD), self._reset)
        self.com1 = Uart16550(sink, line, self.pics.line(IRQ_COM1))
        ranges = ram_ranges(ram_bytes)
        cmos = Cmos(ranges[0][1], ranges[1][1] if len(ranges) > 1 else 0)
        debug = DebugPort(sink)
        for device, at, size in (
            (self.pics.master, PORT_PIC_MASTER, 2),
            (self.timer, PORT_PIT, 4),
            (SystemControlB(self.timer.counters[2]), PORT_SYSTEM_B, 1),
            (self.keyboard.data, PORT_KEYBOARD_DATA, 1),
            (self.keyboard.command, PORT_KEYBOARD_COMMAND, 1),
            (cmos, PORT_CMOS, 2),
            (SystemControlA(self._reset), PORT_SYSTEM_A, 1),
            (self.pics.slave, PORT_PIC_SLAVE, 2),
            (debug, PORT_DEBUG, 1),
            (ExitPort(self._exit), PORT_EXIT, PORT_EXIT_BYTES),
            (self.crtc, PORT_CRTC, 2),
            (InputStatus(), PORT_INPUT_STATUS, 1),
            (self.com1, PORT_COM1, 8),
            (debug, PORT_FIRMWARE_DEBUG, 1),
            (EdgeLevel(self.pics), PORT_EDGE_LEVEL, 2),
            (PciPorts(self._reset), PORT_PCI, 8),
        ):
            self.ports.attach(device, at=at, size=size)

    def ring(self) -> None:
        """Let the loop look at once: an interrupt, an end, another time for the next event."""
        self.attention = True

    @property
    def interrupt_pending(self) -> bool:
        """INTR of the processor."""
        return self.pics.pending

    def acknowledge(self) -> int:
        """The vector of the pending interrupt."""
        return self.pics.acknowledge()

    def next_event_ns(self) -> int | None:
        """When a device does something by itself, on the VM's clock."""
        return self.timer.next_event_ns()

    def advance(self, now_ns: int) -> None:
        """Let the devices do what is due."""
        self.timer.advance(now_ns)
        self.com1.poll()
        self.keyboard.poll()

    def why_nothing_wakes(self) -> str | None:
        """None when a device can still interrupt; else why none can."""
        timer = self.timer.next_event_ns() is not None
        able = [IRQ_TIMER] * timer + [IRQ_COM1] * self.com1.can_interrupt + [IRQ_KEYBOARD] * self.keyboard.can_interrupt
        if any(self.pics.enabled(irq) for irq in able):
            return None
        if not able:
            return "no device could interrupt: the timer does not run, and COM1's receive interrupt is off"
        return "the devices that could interrupt (timer, COM1, keyboard) are masked in the interrupt controller"

    def _exit(self, value: int) -> None:
        self.outcome = GuestExited(value, f"port {PORT_EXIT:#x}")
        self.ring()

    def _reset(self, how: str) -> None:
        self.outcome = ResetAsked(how)
        self.ring()
