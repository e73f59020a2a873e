"""The disk: requests by a driver of ours, images that are whole, read-only, cut off, or used twice."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from pyhv.vmm.disk import Disk, DiskError
from pyhv.vmm.virtio.block import IOERR, OK, UNSUPPORTED, Block, Request
from pyhv.vmm.virtio.device import Status

from .driver import ALL, Driver, Memory

SECTORS = 64


def disk_of(folder: Any, data: bytes, *, read_only: bool = False) -> Disk:
    path = Path(folder) / "disk.img"
    path.write_bytes(data)
    return Disk(path, read_only=read_only)


def header(kind: int, sector: int = 0) -> bytes:
    return struct.pack("<IIQ", kind, 0, sector)


def started(memory: Memory, disk: Disk, features: int = ALL) -> Driver:
    driver = Driver(memory, Block(memory.dma, disk))
    driver.start(features)
    return driver


@pytest.fixture
def image() -> bytes:
    return b"".join(bytes((n,)) * 512 for n in range(SECTORS))


def test_its_configuration_says_how_big_it_is(memory: Memory, tmp_path: Path, image: bytes) -> None:
    with disk_of(tmp_path, image) as disk:
        driver = started(memory, disk)
        assert (driver.configuration(0, 8), driver.configuration(20, 4)) == (SECTORS, 512)
        assert (driver.configuration(8, 4), driver.configuration(12, 4)) == (1 << 20, 126)
        assert (driver.configuration(34, 2), driver.configuration(36, 4)) == (1, 1 << 22)


@pytest.mark.parametrize("indirect", [False, True])
def test_read_and_write(memory: Memory, tmp_path: Path, image: bytes, indirect: bool) -> None:
    with disk_of(tmp_path, image) as disk:
        driver = started(memory, disk)
        first, second, status = driver.request(0, [header(Request.IN, 3)], [512, 512, 1], indirect=indirect)
        assert (first, second, status) == (b"\x03" * 512, b"\x04" * 512, b"\0")
        data = bytes(range(256)) * 2
        assert driver.request(0, [header(Request.OUT, 5), data, data], [1], indirect=indirect) == [b"\0"]
        assert driver.used(0) == [(0, 1025), (0, 1)]
        assert (tmp_path / "disk.img").read_bytes() == image[: 5 * 512] + data + data + image[7 * 512 :]


def test_a_header_in_pieces_and_a_status_behind_data(memory: Memory, tmp_path: Path, image: bytes) -> None:
    with disk_of(tmp_path, image) as disk:
        driver = started(memory, disk)
        whole = header(Request.OUT, 1) + b"x" * 512
        assert driver.request(0, [whole[:7], whole[7:30], whole[30:]], [1]) == [b"\0"]
        (both,) = driver.request(0, [header(Request.IN, 1)], [513])
        assert both == b"x" * 512 + b"\0"


@pytest.mark.parametrize(
    ("request_", "sizes", "status"),
    [
        (header(Request.IN, SECTORS), [512, 1], IOERR),
        (header(Request.IN, SECTORS - 1), [1024, 1], IOERR),
        (header(Request.IN, (1 << 64) - 1), [512, 1], IOERR),
        (header(Request.IN, 0), [100, 1], IOERR),
        (header(Request.OUT, SECTORS) + bytes(512), [1], IOERR),
        (header(99), [1], UNSUPPORTED),
        (header(Request.FLUSH), [1], OK),
        (header(Request.DISCARD) + struct.pack("<QII", 0, 8, 0), [1], OK),
        (header(Request.DISCARD) + struct.pack("<QII", SECTORS, 8, 0), [1], IOERR),
        (header(Request.DISCARD) + struct.pack("<QII", 0, 8, 1), [1], UNSUPPORTED),
        (header(Request.DISCARD) + bytes(5), [1], IOERR),
        (header(Request.DISCARD) + bytes(16 * 17), [1], IOERR),
        (header(Request.WRITE_ZEROES) + struct.pack("<QII", 0, 0xFFFF_FFFF, 0), [1], IOERR),
        (header(Request.WRITE_ZEROES) + struct.pack("<QII", 0, 8, 2), [1], UNSUPPORTED),
    ],
)
def test_status(  # noqa: PLR0917
    memory: Memory, tmp_path: Path, image: bytes, request_: bytes, sizes: list[int], status: int
) -> None:
    with disk_of(tmp_path, image) as disk:
        driver = started(memory, disk)
        assert driver.request(0, [request_], sizes)[-1] == bytes((status,))
        assert driver.status == 15


@pytest.mark.parametrize("flags", [0, 1])
def test_write_zeroes(memory: Memory, tmp_path: Path, image: bytes, flags: int) -> None:
    with disk_of(tmp_path, image) as disk:
        driver = started(memory, disk)
        assert driver.request(0, [header(Request.WRITE_ZEROES), struct.pack("<QII", 2, 3, flags)], [1]) == [b"\0"]
    assert (tmp_path / "disk.img").read_bytes() == image[:1024] + bytes(3 * 512) + image[5 * 512 :]


def test_its_name(memory: Memory, tmp_path: Path, image: bytes) -> None:
    with disk_of(tmp_path, image) as disk:
        assert started(memory, disk).request(0, [header(Request.GET_ID)], [20, 1]) == [
            b"disk.img".ljust(20, b"\0"),
            b"\0",
        ]


def test_read_only(memory: Memory, tmp_path: Path, image: bytes) -> None:
    with disk_of(tmp_path, image, read_only=True) as disk:
        driver = started(memory, disk)
        assert driver.device.features & 1 << 5
        assert driver.request(0, [header(Request.OUT), bytes(512)], [1]) == [bytes((IOERR,))]
        assert driver.request(0, [header(Request.DISCARD), struct.pack("<QII", 0, 8, 0)], [1]) == [
            bytes((UNSUPPORTED,))
        ]
    assert (tmp_path / "disk.img").read_bytes() == image


@pytest.mark.parametrize(("readable", "writable"), [([b"short"], [1]), ([header(Request.IN)], []), ([], [513])])
def test_a_request_without_header_or_status_fails_the_device(
    memory: Memory, tmp_path: Path, image: bytes, readable: list[bytes], writable: list[int]
) -> None:
    with disk_of(tmp_path, image) as disk:
        driver = started(memory, disk)
        driver.request(0, readable, writable)
        assert driver.status & Status.NEEDS_RESET


def test_without_flush_a_write_is_flushed_at_once(
    memory: Memory, tmp_path: Path, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    monkeypatch.setattr(Disk, "flush", lambda _: flushed.append(1))
    with disk_of(tmp_path, image) as disk:
        started(memory, disk).request(0, [header(Request.OUT), bytes(512)], [1])
        assert not flushed
        started(memory, disk, ALL & ~(1 << 9)).request(0, [header(Request.OUT), bytes(512)], [1])
        assert flushed


@pytest.mark.parametrize(
    ("data", "words"), [(b"", "0 bytes"), (bytes(700), "700 bytes"), (b"QFI\xfb" + bytes(508), "qcow2")]
)
def test_files_that_are_no_disk(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(DiskError, match=words):
        disk_of(tmp_path, data)


def test_a_disk_has_one_writer_or_many_readers(tmp_path: Path, image: bytes) -> None:
    path = tmp_path / "disk.img"
    with disk_of(tmp_path, image), pytest.raises(DiskError, match="another machine"):
        Disk(path)
    with Disk(path, read_only=True), Disk(path, read_only=True), pytest.raises(DiskError, match="another machine"):
        Disk(path)


def test_a_file_that_was_cut_meanwhile_reads_as_zeros(tmp_path: Path, image: bytes) -> None:
    with disk_of(tmp_path, image) as disk:
        (tmp_path / "disk.img").write_bytes(image[:512])
        assert disk.read(512, 512) == bytes(512)
