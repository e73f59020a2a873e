"""The small parts: page tables, room, sizes, consoles, limits."""

from __future__ import annotations

import os
import struct

import pytest

from pyhv.vmm.console import BytesSource, Capture, FdSink, FdSource, NoInput
from pyhv.vmm.limits import WatchingSink
from pyhv.vmm.paging import PageTables
from pyhv.vmm.plan import ImageError
from pyhv.vmm.room import Room
from pyhv.vmm.sizes import parse_address, parse_size, show_size

# Page tables


def walk(tables: PageTables, gva: int) -> int | None:
    """What a processor finds, by the manual's four steps."""
    data, table = tables.data, tables.at
    for shift in (39, 30, 21, 12):
        (entry,) = struct.unpack_from("<Q", data, table - tables.at + 8 * (gva >> shift & 511))
        if not entry & 1:
            return None
        if shift == 12 or entry & 0x80:
            return (entry & 0xFFFFFFFFFF000) + (gva & ((1 << shift) - 1))
        table = entry & 0xFFFFFFFFFF000
    return None


def test_identity_uses_large_pages() -> None:
    tables = PageTables(0x10000)
    tables.map(0, 0, 4 << 30)
    assert len(tables.data) == 6 * 4096
    for gva in (0, 0x1234, 0x1FFFFF, 0x200000, 0xFFFFFFFF):
        assert walk(tables, gva) == gva
    assert walk(tables, 1 << 32) is None


def test_a_window_lies_elsewhere_and_small_pages_fill_its_ends() -> None:
    tables = PageTables(0x10000)
    high = 0xFFFFFFFF80000000
    tables.map(high + 0x1FF000, 0x5FF000, 0x402000)
    assert walk(tables, high + 0x1FF123) == 0x5FF123
    assert walk(tables, high + 0x200000) == 0x600000
    assert walk(tables, high + 0x600FFF) == 0xA00FFF
    assert walk(tables, high + 0x601000) is None


def test_a_window_inside_identity_splits_the_large_page() -> None:
    tables = PageTables(0)
    tables.map(0, 0, 4 << 20)
    tables.map(0x201000, 0x80000, 0x1000)
    assert walk(tables, 0x201010) == 0x80010
    assert walk(tables, 0x200010) == 0x200010
    assert walk(tables, 0x202010) == 0x202010


# Room


def test_room_is_below_640_kib_beside_what_is_taken() -> None:
    room = Room(64 << 20, [(0x10000, 0x14800)])
    assert room.allocate(0x1000) == 0x15000
    assert room.allocate(0x1000) == 0x16000


def test_room_goes_high_when_low_memory_is_full() -> None:
    room = Room(64 << 20, [(0, 0xA0000), (0x3FFF000, 64 << 20)])
    assert room.allocate(0x2000) == 0x3FFD000


def test_no_room_says_what_would_do() -> None:
    with pytest.raises(ImageError, match="give more with --memory"):
        Room(1 << 20, [(0, 1 << 20)]).allocate(0x1000)


# Sizes


@pytest.mark.parametrize(
    ("text", "size"), [("4096", 4096), ("64M", 64 << 20), ("1GiB", 1 << 30), ("0x1000", 4096), ("2 kb", 2048)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "1.5G", "64Q", "0x", "1 2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(("text", "address"), [("0x7C00", 0x7C00), ("7C00h", 0x7C00), ("31744", 0x7C00), ("0", 0)])
def test_addresses(text: str, address: int) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "7C00", "0xZZ", "h", "1.5"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        parse_address(text)


def test_sizes_are_shown_in_the_biggest_whole_unit() -> None:
    assert [show_size(n) for n in (0, 1000, 4096, 64 << 20)] == ["0 bytes", "1000 bytes", "4 KiB", "64 MiB"]


# Consoles


def test_a_pipe_as_a_source_ends() -> None:
    reading, writing = os.pipe()
    source = FdSource(reading)
    assert not source.ready()
    os.write(writing, b"ab")
    assert source.wait(1.0)
    assert source.ready()
    assert (source.read(), source.ended) == (ord("a"), False)
    os.close(writing)
    assert source.read() == ord("b")
    assert not source.wait(1.0)
    assert source.ended
    assert source.read() is None
    os.close(reading)


def test_a_sink_writes_lines_and_what_is_flushed() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    sink = FdSink(writing)
    sink.write(b"abc")
    with pytest.raises(BlockingIOError):
        os.read(reading, 10)
    sink.write(b"\n")
    assert os.read(reading, 10) == b"abc\n"
    sink.write(b"d")
    sink.flush()
    assert os.read(reading, 10) == b"d"
    os.close(reading)
    os.close(writing)


def test_a_capture_keeps_the_end() -> None:
    capture = Capture(limit_bytes=4)
    capture.write(b"abcdefgh")
    capture.write(b"ij")
    assert (capture.data, capture.total_bytes, capture.truncated) == (b"ghij", 10, True)


def test_sources_without_a_file() -> None:
    assert NoInput().ended
    source = BytesSource(b"x")
    assert (source.ended, source.ready(), source.read(), source.ended) == (False, True, ord("x"), True)


@pytest.mark.parametrize("pieces", [[b"say SeaBIOS now"], [b"Sea", b"BIOS"], [bytes((c,)) for c in b"xSeaBIOS"]])
def test_watched_text_is_seen_in_whatever_pieces(pieces: list[bytes]) -> None:
    sink = WatchingSink(Capture(), b"SeaBIOS")
    for piece in pieces:
        assert not sink.seen
        sink.write(piece)
    assert sink.seen
