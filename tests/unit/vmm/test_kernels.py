"""Kernels of operating systems: unpacked out of their images, or by PVH; files that are damaged or foreign."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable

import lz4.block
import pytest
import zstandard

from pyhv.vmm.loaders import kernel, linux, pvh
from pyhv.vmm.plan import ImageError, Kind, Mode
from pyhv.vmm.room import Room

from .images import Elf, Linux, Load

ENTRY = 0x100_0000
INSIDE = bytes(Elf(entry=ENTRY, loads=[Load(0xFFFF_FFFF_8100_0000, paddr=ENTRY, data=b"\xf4" * 5000, memsz=0x9000)]))


def sized(data: bytes) -> bytes:
    return data + len(INSIDE).to_bytes(4, "little")


def lz4_legacy(data: bytes) -> bytes:
    blocks = (lz4.block.compress(data[at : at + 3000], store_size=False) for at in range(0, len(data), 3000))
    return b"\x02\x21\x4c\x18" + b"".join(len(block).to_bytes(4, "little") + block for block in blocks)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lambda data: sized(lzma.compress(data)),
    "lzma": lambda data: sized(lzma.compress(data, lzma.FORMAT_ALONE)),
    "bzip2": lambda data: sized(bz2.compress(data)),
    "zstd": lambda data: sized(zstandard.compress(data)),
    "lz4": lambda data: sized(lz4_legacy(data)),
}


def image(payload: bytes, **fields: int) -> bytes:
    """A bzImage with this payload 64 bytes behind its protected-mode part's begin."""
    made = bytearray(bytes(Linux(code=bytes(64) + payload + bytes(-len(payload) % 16), **fields)))
    struct.pack_into("<I", made, 0x22C, 0x7FFF_FFFF)
    struct.pack_into("<II", made, 0x248, 64, len(payload))
    return bytes(made)


@pytest.mark.parametrize("way", PACKED)
def test_a_kernel_is_unpacked_and_entered_at_its_own_entry(way: str) -> None:
    plan = kernel.plan(image(PACKED[way](INSIDE)), "quiet", initrd=b"INITRD")
    assert (plan.kind, plan.mode, plan.entry, plan.windows) == (Kind.LINUX, Mode.LONG, ENTRY, ())
    assert (plan.initrd, plan.initrd_max, plan.arguments) == (b"INITRD", 0x7FFF_FFFF, "quiet")
    (segment,) = plan.segments
    assert (segment.gpa, segment.data, segment.size_bytes) == (ENTRY, b"\xf4" * 5000, 0x9000)
    assert plan.setup_header[0x11:0x15] == b"HdrS"


@pytest.mark.parametrize("way", PACKED)
@pytest.mark.parametrize("damage", ["cut", "turned", "short"])
def test_damaged_payloads(way: str, damage: str) -> None:
    packed = bytearray(PACKED[way](INSIDE))
    if damage == "turned":
        for at in range(8, len(packed) - 8, 7):
            packed[at] ^= 0x5A
    elif damage == "cut":
        packed = packed[: len(packed) // 2]
    else:
        packed = packed[:9]
    with pytest.raises(ImageError, match=r"damaged|cannot be unpacked|ELF"):
        kernel.plan(image(bytes(packed)))


def test_a_payload_that_says_it_is_huge() -> None:
    with pytest.raises(ImageError, match="unpacks to 4294967295 bytes"):
        kernel.plan(image(zstandard.compress(INSIDE) + b"\xff" * 4))


def test_what_unpacks_to_no_elf() -> None:
    with pytest.raises(ImageError, match="no ELF file"):
        kernel.plan(image(gzip.compress(b"hello")))


def test_unknown_packing_is_left_to_the_kernel() -> None:
    plan = kernel.plan(image(b"\x89LZO" + bytes(100)))
    assert (plan.mode, plan.entry) == (Mode.LONG, 0x10_0200)
    plan = kernel.plan(image(b"\x89LZO" + bytes(100), has_entry_64=0))
    assert (plan.mode, plan.entry) == (Mode.PROTECTED, 0x10_0000)


def test_a_payload_beyond_the_file() -> None:
    made = bytearray(image(gzip.compress(INSIDE)))
    struct.pack_into("<II", made, 0x248, 64, 0x100_0000)
    with pytest.raises(ImageError, match="truncated"):
        kernel.plan(bytes(made))


def note(entry: int, size: int = 8, kind: int = 18, owner: bytes = b"Xen\0") -> bytes:
    value = entry.to_bytes(size, "little")
    return struct.pack("<3I", len(owner), len(value), kind) + owner + value + bytes(-size % 4)


def pvh_image(notes: bytes, entry: int = 0x100_0000) -> bytes:
    loads = [Load(entry, data=b"\xf4" * 64), Load(0, data=notes, kind=4)]
    return bytes(Elf(entry=entry, loads=loads))


@pytest.mark.parametrize("size", [4, 8])
def test_a_pvh_kernel_starts_at_its_note(size: int) -> None:
    plan = kernel.plan(pvh_image(note(7, 4, 6) + note(0x100_0010, size)), "a=b", initrd=b"X")
    assert (plan.kind, plan.mode, plan.entry, plan.initrd) == (Kind.PVH, Mode.PROTECTED, 0x100_0010, b"X")


def test_a_pvh_entry_outside_the_kernel() -> None:
    with pytest.raises(ImageError, match="PVH entry 0x5000 is in none"):
        kernel.plan(pvh_image(note(0x5000)))


@pytest.mark.parametrize("notes", [b"", b"\0" * 11, note(1, 8, 5), note(1, owner=b"GNU\0"), b"\xff" * 64])
def test_an_elf_file_without_a_pvh_entry(notes: bytes) -> None:
    with pytest.raises(ImageError, match="neither a PVH entry nor a Multiboot header"):
        kernel.plan(pvh_image(notes))


def test_the_start_block() -> None:
    block = pvh.start_info(0x5000, "root=1", [(0, 0x9FC00, 1)], initrd=(0x70_0000, 99), rsdp_at=0xE0000)
    magic, version, _, count, modules_at, line_at, rsdp, map_at, entries, _ = struct.unpack_from("<4I4QII", block)
    assert (magic, version, count, rsdp, entries) == (0x336EC578, 1, 1, 0xE0000, 1)
    assert struct.unpack_from("<4Q", block, modules_at - 0x5000) == (0x70_0000, 99, 0, 0)
    assert struct.unpack_from("<QQII", block, map_at - 0x5000) == (0, 0x9FC00, 1, 0)
    assert block[line_at - 0x5000 :] == b"root=1\0"


@pytest.mark.parametrize("data", [b"", b"\0" * 600, b"MZ" + bytes(600), b"#!/bin/sh\n"])
def test_foreign_files(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"no kernel|empty"):
        kernel.plan(data)


def test_boot_parameters_tell_of_initrd_and_acpi_and_of_no_screen() -> None:
    header = linux.parse(bytes(Linux())).raw
    page = linux.boot_parameters(header, 64 << 20, 0, 0x9000, "x", initrd=(0x123000, 77), rsdp_at=0xE0000, screen=False)
    assert struct.unpack_from("<II", page, 0x218) == (0x123000, 77)
    assert struct.unpack_from("<Q", page, 0x70) == (0xE0000,)
    assert page[0x0F] == 0


def test_room_high_up() -> None:
    room = Room(64 << 20, [(0x300_0000, 0x310_0000)])
    assert room.allocate_high(0x1800, 1 << 32) == (64 << 20) - 0x2000
    assert room.allocate_high(0x1000, 0x301_0000) == 0x2FF_F000
    with pytest.raises(ImageError, match="memory are free"):
        room.allocate_high(65 << 20, 1 << 32)
