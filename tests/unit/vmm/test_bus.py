"""The bus finds devices, cuts accesses to their width, and answers for nobody."""

from __future__ import annotations

import pytest

from pyhv.vmm.bus import AddressSpace


class Recorder:
    def __init__(self, width_bytes: int = 1) -> None:
        self.width_bytes = width_bytes
        self.seen: list[tuple[str, int, int, int]] = []

    def read(self, offset: int, size_bytes: int) -> int:
        self.seen.append(("read", offset, size_bytes, 0))
        return 0x10 + offset

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self.seen.append(("write", offset, size_bytes, value))


@pytest.fixture
def space() -> AddressSpace:
    return AddressSpace("port", 0x10000)


def test_a_device_sees_offsets_not_addresses(space: AddressSpace) -> None:
    device = Recorder()
    space.attach(device, at=0x3F8, size=8)
    assert space.read(0x3FD, 1) == 0x15
    space.write(0x3F8, 1, 0x41)
    assert device.seen == [("read", 5, 1, 0), ("write", 0, 1, 0x41)]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_nobody_there_reads_all_ones(space: AddressSpace, size: int) -> None:
    assert space.read(0xCF8, size) == (1 << 8 * size) - 1
    space.write(0xCF8, size, 0)


def test_wide_accesses_come_in_pieces_of_the_device_s_width(space: AddressSpace) -> None:
    device = Recorder()
    space.attach(device, at=0x40, size=4)
    assert space.read(0x40, 4) == 0x13121110
    space.write(0x40, 2, 0xBEEF)
    assert device.seen[4:] == [("write", 0, 1, 0xEF), ("write", 1, 1, 0xBE)]


def test_a_wide_device_gets_the_access_whole(space: AddressSpace) -> None:
    device = Recorder(4)
    space.attach(device, at=0xF4, size=4)
    space.write(0xF4, 4, 0x12345678)
    assert device.seen == [("write", 0, 4, 0x12345678)]


def test_an_access_over_the_end_reads_ones_behind_the_device(space: AddressSpace) -> None:
    space.attach(Recorder(4), at=0x100, size=2)
    assert space.read(0x101, 2) == 0xFF11
    assert space.read(0xFF, 2) == 0x10FF


@pytest.mark.parametrize(("at", "size"), [(0x3F8, 8), (0x3FF, 1), (0x3F0, 9), (0x3F0, 32), (0x3FA, 1)])
def test_overlaps_are_refused(space: AddressSpace, at: int, size: int) -> None:
    space.attach(Recorder(), at=0x3F8, size=8)
    with pytest.raises(ValueError, match="overlaps Recorder at 0x3f8"):
        space.attach(Recorder(), at=at, size=size)


@pytest.mark.parametrize(("at", "size"), [(0xFFFF, 2), (0x10000, 1), (-1, 1), (0, 0)])
def test_outside_the_space_is_refused(space: AddressSpace, at: int, size: int) -> None:
    with pytest.raises(ValueError, match="outside the space"):
        space.attach(Recorder(), at=at, size=size)


def test_neighbours_fit(space: AddressSpace) -> None:
    first, second = Recorder(), Recorder()
    space.attach(second, at=0x100, size=8)
    space.attach(first, at=0xF8, size=8)
    space.write(0xFF, 1, 1)
    space.write(0x100, 1, 2)
    assert (first.seen, second.seen) == ([("write", 7, 1, 1)], [("write", 0, 1, 2)])


def test_the_address_that_nobody_answers_is_named_when_it_is_asked_often() -> None:
    ports = AddressSpace("port", 0x10000)
    for _ in range(999):
        ports.read(0x5000, 2)
    assert ports.unanswered() == []
    ports.read(0x5000, 2)
    ports.read(0x60, 1)
    assert ports.unanswered() == ["port 0x5000 was read 1,000 times; no device is there, it reads as ones"]
    for _ in range(1000):
        ports.write(0x70, 1, 0)
    assert ports.unanswered()[1].startswith("port 0x70 was written 1,000 times; no device is there, what is written")
