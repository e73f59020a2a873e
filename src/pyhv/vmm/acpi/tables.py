"""The tables as bytes, laid out from a GPA. ACPI 6.4, "ACPI Software Programming Model"."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .dsdt import Layout, definition_block

OEM, OEM_TABLE, CREATOR = b"PYHV  ", b"PYHVPC  ", b"PYHV"
SYSTEM_IO, SYSTEM_MEMORY = 1, 0
LOCAL_APIC_AT, IO_APIC_AT = 0xFEE0_0000, 0xFEC0_0000
HAS_8259 = 1  # in the MADT's flags
EDGE_HIGH, LEVEL_HIGH = 0x0005, 0x000D
SCI_IRQ = 9

# FADT, "Fixed ACPI Description Table Fixed Feature Flags": what the board has none of, or does its own way
WBINVD, PROC_C1, PWR_BUTTON, SLP_BUTTON, FIX_RTC, TMR_VAL_EXT, RESET_REG_SUP = (1 << n for n in (0, 2, 4, 5, 6, 8, 10))
FADT_FLAGS = WBINVD | PROC_C1 | PWR_BUTTON | SLP_BUTTON | FIX_RTC | TMR_VAL_EXT | RESET_REG_SUP
# "IA-PC Boot Architecture Flags"
LEGACY_DEVICES, VGA_NOT_PRESENT = 1 << 0, 1 << 2
FADT_BYTES, FACS_BYTES = 276, 64


@dataclass(frozen=True, slots=True)
class PowerPorts:
    """Where power management and reset are."""

    events: int = 0x600
    control: int = 0x604
    timer: int = 0x608
    reset: int = 0xCF9
    reset_value: int = 0x06


def build(at: int, layout: Layout, power: PowerPorts | None = None) -> bytes:
    """All tables, the RSDP first, to be put at GPA `at` (a multiple of 64)."""
    power = power or PowerPorts()
    places = _Places(at + 64)
    facs_at = places.add(_facs())
    dsdt_at = places.add(_table(b"DSDT", 2, definition_block(layout)))
    fadt_at = places.add(_fadt(facs_at, dsdt_at, power))
    madt_at = places.add(_madt(layout.cpus))
    mcfg_at = places.add(_table(b"MCFG", 1, struct.pack("<8xQHBB4x", layout.config[0], 0, 0, 0)))
    xsdt_at = places.add(_table(b"XSDT", 1, struct.pack("<3Q", fadt_at, madt_at, mcfg_at)))
    return _rsdp(xsdt_at).ljust(64, b"\0") + bytes(places.data)


class _Places:
    """Tables one behind the other, each at a multiple of 64, as the FACS must be."""

    def __init__(self, at: int) -> None:
        self._at = at
        self.data = bytearray()

    def add(self, table: bytes) -> int:
        self.data += bytes(-len(self.data) % 64)
        at = self._at + len(self.data)
        self.data += table
        return at


def _checksum(data: bytes | bytearray) -> int:
    return -sum(data) & 0xFF


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    size = 36 + len(body)
    head = struct.pack("<4sIBB6s8sI4sI", signature, size, revision, 0, OEM, OEM_TABLE, 1, CREATOR, 1)
    table = bytearray(head + body)
    table[9] = _checksum(table)
    return bytes(table)


def _rsdp(xsdt_at: int) -> bytes:
    rsdp = bytearray(struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", 0, OEM, 2, 0, 36, xsdt_at, 0))
    rsdp[8] = _checksum(rsdp[:20])
    rsdp[32] = _checksum(rsdp)
    return bytes(rsdp)


def _facs() -> bytes:
    return struct.pack("<4sII", b"FACS", FACS_BYTES, 0).ljust(32, b"\0") + b"\x02".ljust(32, b"\0")


def _generic(port: int, bits: int, access: int) -> bytes:
    """The "Generic Address Structure" of a port; 0: there is none."""
    return struct.pack("<BBBBQ", SYSTEM_IO, bits, 0, access, port) if port else bytes(12)


def _fadt(facs_at: int, dsdt_at: int, power: PowerPorts) -> bytes:
    fadt = bytearray(FADT_BYTES)
    for offset, form, value in (
        (36, "<I", facs_at),
        (40, "<I", dsdt_at),
        (46, "<H", SCI_IRQ),
        (56, "<I", power.events),
        (64, "<I", power.control),
        (76, "<I", power.timer),
        (88, "<B", 4),  # bytes of the event block, of control, of the timer
        (89, "<B", 2),
        (91, "<B", 4),
        (96, "<H", 0xFFFF),  # C2 and C3: none
        (98, "<H", 0xFFFF),
        (108, "<B", 0x32),  # the century's cell in the clock's memory
        (109, "<H", LEGACY_DEVICES | VGA_NOT_PRESENT),
        (112, "<I", FADT_FLAGS),
        (128, "<B", power.reset_value),
        (131, "<B", 4),  # minor version: 6.4
        (140, "<Q", dsdt_at),
    ):
        struct.pack_into(form, fadt, offset, value)
    fadt[116:128] = _generic(power.reset, 8, 1)
    fadt[148:160] = _generic(power.events, 32, 2)
    fadt[172:184] = _generic(power.control, 16, 2)
    fadt[208:220] = _generic(power.timer, 32, 3)
    return _table(b"FACP", 6, bytes(fadt[36:]))


def _madt(cpus: int) -> bytes:
    entries = [struct.pack("<BBBBI", 0, 8, number, number, 1) for number in range(cpus)]
    entries.append(struct.pack("<BBBBII", 1, 12, cpus, 0, IO_APIC_AT, 0))
    entries.append(struct.pack("<BBBBIH", 2, 10, 0, 0, 2, EDGE_HIGH))  # the timer's IRQ 0 is on pin 2
    entries.append(struct.pack("<BBBBIH", 2, 10, 0, SCI_IRQ, SCI_IRQ, LEVEL_HIGH))
    entries.append(struct.pack("<BBBHB", 4, 6, 0xFF, EDGE_HIGH, 1))  # NMI on LINT1 of every processor
    return _table(b"APIC", 5, struct.pack("<II", LOCAL_APIC_AT, HAS_8259) + b"".join(entries))
