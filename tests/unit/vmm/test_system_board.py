"""What the board for operating systems has besides virtio: ACPI tables, power, fw_cfg, PCI's ports, shared pins."""

from __future__ import annotations

import struct

import pytest

from pyhv.vmm.acpi import aml, resources, tables
from pyhv.vmm.acpi.dsdt import Layout
from pyhv.vmm.boards.pc_apic import SharedPin
from pyhv.vmm.console import Capture
from pyhv.vmm.devices.fw_cfg import FwCfg
from pyhv.vmm.devices.power import PowerManagement
from pyhv.vmm.limits import PanicSink
from pyhv.vmm.pci.function import Bar, Identity, PciFunction
from pyhv.vmm.pci.host import ConfigMemory, ConfigPorts, PciBus

AT = 0xE0000
LAYOUT = Layout(3, 0xC000_0000, 0x3E00_0000, {1: 16, 2: 17}, (0xFE00_0000, 1 << 20))


def table(image: bytes, at: int) -> bytes:
    size = struct.unpack_from("<I", image, at - AT + 4)[0]
    found = image[at - AT : at - AT + size]
    assert sum(found) & 0xFF == 0, found[:4]
    return found


def test_tables_are_found_from_the_pointer() -> None:
    image = tables.build(AT, LAYOUT)
    assert image[:8] == b"RSD PTR "
    assert (sum(image[:20]) & 0xFF, sum(image[:36]) & 0xFF) == (0, 0)
    xsdt = table(image, struct.unpack_from("<Q", image, 24)[0])
    found = {table(image, at)[:4]: table(image, at) for (at,) in struct.iter_unpack("<Q", xsdt[36:])}
    assert set(found) == {b"FACP", b"APIC", b"MCFG"}
    fadt = found[b"FACP"]
    facs_at, dsdt_at = struct.unpack_from("<II", fadt, 36)
    assert image[facs_at - AT : facs_at - AT + 4] == b"FACS"
    assert facs_at % 64 == 0
    assert struct.unpack_from("<Q", fadt, 140)[0] == dsdt_at
    dsdt = table(image, dsdt_at)
    assert dsdt[:4] == b"DSDT"
    assert all(name in dsdt for name in (b"_S5_", b"PCI0", b"_PRT", b"COM1", b"C002"))


def test_the_madt_lists_processors_and_overrides() -> None:
    image = tables.build(AT, LAYOUT)
    at = image.index(b"APIC\x6a")
    madt, entries, position = image[at : at + 0x6A], [], 44
    while position < len(madt):
        entries.append(madt[position : position + madt[position + 1]])
        position += madt[position + 1]
    assert [entry[0] for entry in entries] == [0, 0, 0, 1, 2, 2, 4]
    assert [entry[3] for entry in entries[:3]] == [0, 1, 2]
    assert entries[4][3:8] == b"\0\2\0\0\0"


@pytest.mark.parametrize(
    ("term", "code"),
    [
        (aml.integer(0), "00"),
        (aml.integer(1), "01"),
        (aml.integer(0x42), "0a42"),
        (aml.integer(0x1234), "0b3412"),
        (aml.integer(0xFEC00000), "0c0000c0fe"),
        (aml.integer(1 << 40), "0e0000000000010000"),
        (aml.eisa_id("PNP0A03"), "0c41d00a03"),
        (aml.name("_UID", aml.integer(1)), "085f55494401"),
        (aml.package(aml.integer(5), aml.integer(0)), "1205020a0500"),
        (aml.name("\\_S5", aml.string("x")), "085c5f53355f0d7800"),
    ],
)
def test_aml_terms(term: bytes, code: str) -> None:
    """Bytes as `iasl` compiles the same ASL."""
    assert term.hex() == code


@pytest.mark.parametrize(
    ("body", "code"),
    [(10, "0b"), (62, "3f"), (63, "4104"), (4093, "4fff"), (4094, "810001"), (70000, "831711")],
)
def test_package_lengths(body: int, code: str) -> None:
    assert aml.package_length(body).hex() == code


@pytest.mark.parametrize("name", ["", "TOOLONG", "abc", "1ABC", "A-B"])
def test_bad_aml_names(name: str) -> None:
    with pytest.raises(ValueError, match="AML name"):
        aml.name_path(name)


def test_a_memory_window_ends_where_it_should() -> None:
    window = resources.memory_window(0xC000_0000, 0x3EC0_0000)
    assert struct.unpack_from("<5I", window, 6) == (0, 0xC000_0000, 0xFEBF_FFFF, 0, 0x3EC0_0000)


def test_power_off_wants_the_right_sleep_type_and_the_enable_bit() -> None:
    off: list[int] = []
    power = PowerManagement(lambda: 2_000_000_000, lambda: off.append(1))
    power.write(4, 2, 5 << 10)
    power.write(4, 2, 3 << 10 | 0x2000)
    assert not off
    power.write(4, 2, 5 << 10 | 0x2000)
    assert off == [1]
    assert power.read(4, 2) & 1
    assert power.read(8, 4) == 2 * 3_579_545
    power.write(2, 2, 0x120)
    assert (power.read(0, 4), power.read(2, 2)) == (0x120_0000, 0x120)


def test_fw_cfg_gives_items_and_a_directory() -> None:
    device = FwCfg({"etc/b": b"two", "etc/a": b"one"}, cpus=3)

    def item(key: int, size: int) -> bytes:
        device.write(0, 2, key)
        return bytes(device.read(1, 1) for _ in range(size))

    assert item(0, 6) == b"QEMU\0\0"
    assert item(1, 4) == b"\1\0\0\0"
    assert item(5, 2) == b"\3\0"
    directory = item(0x19, 4 + 2 * 64)
    assert struct.unpack_from(">I", directory)[0] == 2
    size, key, _, name = struct.unpack_from(">IHH56s", directory, 4 + 64)
    assert (size, name.rstrip(b"\0"), item(key, 3)) == (3, b"etc/b", b"two")
    assert item(0x7777, 2) == b"\0\0"


def test_configuration_ports_find_functions_and_nobody() -> None:
    resets: list[str] = []
    bus = PciBus(0xC000_0000, 1 << 20)
    ports = ConfigPorts(bus, resets.append)

    def read(slot: int, register: int, function: int = 0, on_bus: int = 0) -> int:
        ports.write(0, 4, 1 << 31 | on_bus << 16 | slot << 11 | function << 8 | register)
        return ports.read(4, 4)

    assert read(0, 0) == 0x1237_8086
    assert read(0, 8) >> 8 == 0x06_00_00
    for nobody in (read(1, 0), read(0, 0, function=1), read(0, 0, on_bus=1)):
        assert nobody == 0xFFFF_FFFF
    ports.write(0, 4, 0)
    assert ports.read(4, 4) == 0xFFFF_FFFF
    ports.write(1, 1, 6)
    assert resets == ["reset control, port 0xCF9"]


def test_configuration_is_memory_too() -> None:
    bus = PciBus(0xC000_0000, 1 << 20)
    memory = ConfigMemory(bus)
    slot = bus.add(PciFunction(Identity(0x1AF4, 0x1042, 1)))
    assert memory.read(slot << 15, 4) == 0x1042_1AF4
    memory.write(slot << 15 | 0x3C, 1, 9)
    assert memory.read(slot << 15 | 0x3C, 1) == 9
    assert memory.read(slot << 15 | 0x100, 4) == 0
    memory.write(slot << 15 | 0xFFC, 4, 1)
    assert memory.read((slot + 1) << 15, 2) == memory.read(slot << 15 | 1 << 12, 2) == 0xFFFF


def test_read_only_configuration_stays() -> None:
    function = PciFunction(Identity(0x1234, 0x5678, 0xFF0000))
    function.write(0, 4, 0xFFFF_FFFF)
    function.write(0x3C, 4, 0xFFFF_FFFF)
    assert (function.get(0, 4), function.get(0x3C, 4)) == (0x5678_1234, 0xFF)
    with pytest.raises(ValueError, match="powers of two"):
        function.add_bar(Bar(0, 0x3000, None))  # type: ignore[arg-type]


def test_a_bus_takes_as_many_devices_as_it_has_slots() -> None:
    bus = PciBus(0xC000_0000, 1 << 20)
    for _ in range(31):
        bus.add(PciFunction(Identity(1, 2, 3)))
    with pytest.raises(ValueError, match="fewer devices"):
        bus.add(PciFunction(Identity(1, 2, 3)))


def test_a_shared_pin_is_high_while_somebody_pulls() -> None:
    levels: list[tuple[int, bool]] = []
    pin = SharedPin(16, lambda number, level: levels.append((number, level)))
    one, two = pin.line(), pin.line()
    one.set(True)
    two.set(True)
    one.set(False)
    assert levels == [(16, True)]
    two.set(False)
    assert levels == [(16, True), (16, False)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_panic_is_seen_in_whatever_pieces(size: int) -> None:
    sink = PanicSink(Capture())
    text = b"[ 1.0] ok\r\n[ 2.0] Kernel panic - not syncing: VFS: no root\r\n[ 2.1] more\r\n"
    for at in range(0, len(text), size):
        sink.write(text[at : at + size])
    assert sink.line == "Kernel panic - not syncing: VFS: no root"
