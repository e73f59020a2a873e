"""The devices that nobody can find by asking the hardware, as AML."""

from __future__ import annotations

from dataclasses import dataclass

from . import aml, resources

PRESENT = 0x0F
S5_SLEEP_TYPE = 5


@dataclass(frozen=True, slots=True)
class Layout:
    """What the board has and where. `routes`: slot → I/O APIC pin of its INTA#."""

    cpus: int
    window_at: int
    window_bytes: int
    routes: dict[int, int]
    config: tuple[int, int]  # where bus 0's configuration space is memory, and its size
    com1: tuple[int, int] = (0x3F8, 4)  # port, IRQ
    clock: tuple[int, int] = (0x70, 8)
    fw_cfg: int | None = 0x510


def definition_block(layout: Layout) -> bytes:
    """The AML of the DSDT, without its table header."""
    sleep = aml.name("\\_S5", aml.package(*(aml.integer(value) for value in (S5_SLEEP_TYPE, S5_SLEEP_TYPE, 0, 0))))
    devices = [_host_bridge(layout), _reserved(layout), _serial(layout), _clock(layout)]
    if layout.fw_cfg is not None:
        devices.append(_fw_cfg(layout.fw_cfg))
    processors = (
        aml.device(f"C{number:03X}", aml.name("_HID", aml.string("ACPI0007")), aml.name("_UID", aml.integer(number)))
        for number in range(layout.cpus)
    )
    return sleep + aml.scope("\\_SB", *devices, *processors)


def _host_bridge(layout: Layout) -> bytes:
    window = resources.memory_window(layout.window_at, layout.window_bytes)
    crs = resources.template(resources.bus_numbers(0, 0), resources.io(0xCF8, 8), window)
    any_function = 0xFFFF
    routes = (
        aml.package(aml.integer(slot << 16 | any_function), aml.integer(0), aml.integer(0), aml.integer(pin))
        for slot, pin in sorted(layout.routes.items())
    )
    return aml.device(
        "PCI0",
        aml.name("_HID", aml.eisa_id("PNP0A03")),
        aml.name("_UID", aml.integer(0)),
        aml.name("_BBN", aml.integer(0)),
        aml.name("_CRS", crs),
        aml.name("_PRT", aml.package(*routes)),
    )


def _reserved(layout: Layout) -> bytes:
    """The configuration space's memory, so that nobody puts anything there."""
    crs = resources.template(resources.fixed_memory(*layout.config))
    return aml.device("MRES", aml.name("_HID", aml.eisa_id("PNP0C02")), aml.name("_CRS", crs))


def _serial(layout: Layout) -> bytes:
    port, irq = layout.com1
    return aml.device(
        "COM1",
        aml.name("_HID", aml.eisa_id("PNP0501")),
        aml.name("_UID", aml.integer(1)),
        aml.name("_STA", aml.integer(PRESENT)),
        aml.name("_CRS", resources.template(resources.io(port, 8), resources.irq(irq))),
    )


def _clock(layout: Layout) -> bytes:
    port, irq = layout.clock
    crs = resources.template(resources.io(port, 2), resources.irq(irq))
    return aml.device("RTC", aml.name("_HID", aml.eisa_id("PNP0B00")), aml.name("_CRS", crs))


def _fw_cfg(port: int) -> bytes:
    return aml.device(
        "FWCF",
        aml.name("_HID", aml.string("QEMU0002")),
        aml.name("_STA", aml.integer(PRESENT)),
        aml.name("_CRS", resources.template(resources.io(port, 12))),
    )
