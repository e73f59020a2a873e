"""`vm.interrupts`: the lines and messages by which devices reach the vCPUs of a VM that has interrupt controllers."""

from __future__ import annotations

from typing import Final, SupportsIndex

from ..engines.base import EngineInterrupts
from ..errors import BadArgument
from .checks import integer

IRQS: Final = 16
"""Interrupt lines of the two 8259."""
PINS: Final = 24
"""Pins of the I/O APIC."""


class Interrupts:
    """The I/O APIC, the pair of 8259 and the message-signalled interrupts of `VirtualMachine(apic=True)`.

    Every method works from any thread, also while vCPUs run; it never waits for one. A line is a level: it stays as it
    was set, and the guest's redirection entry says whether its rising edge or its level interrupts.
    """

    __slots__ = ("engine",)

    def __init__(self, engine: EngineInterrupts) -> None:
        self.engine = engine

    def set_irq(self, irq: SupportsIndex, high: bool) -> None:
        """Set an ISA interrupt line, 0 to 15, as a PC has it: on the 8259 pair, and on the I/O APIC's pin of the same
        number (IRQ 0 on pin 2, which is what an interrupt source override in the MADT says). IRQ 2 is the cascade and
        goes nowhere. Raises BadArgument for another number.
        """
        self.engine.set_irq(integer("irq", irq, high=IRQS - 1), bool(high))

    def pulse_irq(self, irq: SupportsIndex) -> None:
        """Raise and lower an ISA interrupt line: one edge."""
        number = integer("irq", irq, high=IRQS - 1)
        self.engine.set_irq(number, True)
        self.engine.set_irq(number, False)

    def set_pin(self, pin: SupportsIndex, high: bool) -> None:
        """Set a pin of the I/O APIC, 0 to 23, and that alone: PCI interrupts, ACPI's. Raises BadArgument."""
        self.engine.set_pin(integer("pin", pin, high=PINS - 1), bool(high))

    def pulse_pin(self, pin: SupportsIndex) -> None:
        """Raise and lower a pin of the I/O APIC: one edge."""
        number = integer("pin", pin, high=PINS - 1)
        self.engine.set_pin(number, True)
        self.engine.set_pin(number, False)

    def send_msi(self, address: SupportsIndex, data: SupportsIndex) -> None:
        """Do a device's memory write of a message-signalled interrupt: `address` 0xFEExxxxx and `data` as the guest put
        them into the device. A message for nobody is lost, as on the bus. Raises BadArgument for another address.

        Intel SDM vol. 3, "Message Signalled Interrupts". Apple: hv_vm_lapic_msi.
        """
        where, what = integer("address", address), integer("data", data, high=0xFFFF_FFFF)
        if where >> 20 != 0xFEE:
            raise BadArgument(f"address {where:#x} is none of a message-signalled interrupt: 0xfee00000 to 0xfeefffff")
        self.engine.send_msi(where, what)

    @property
    def state(self) -> bytes:
        """I/O APIC, 8259 pair and the levels of all lines, to be kept or set again while no vCPU runs.

        A local APIC is part of its vCPU's `state`. Setting raises BadArgument for bytes that are none of these.
        """
        return self.engine.read_state()

    @state.setter
    def state(self, image: bytes) -> None:
        self.engine.write_state(bytes(image))
