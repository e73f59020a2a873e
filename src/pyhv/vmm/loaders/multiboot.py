"""Multiboot kernels. Multiboot Specification version 0.6.96, "Boot header format" and "Machine state"."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..plan import ImageError, Kind, Mode, Plan, Segment
from . import elf

SEARCH_BYTES = 8192
HEADER_MAGIC = 0x1BADB002
LOADER_MAGIC = 0x2BADB002
ALIGN_MODULES, MEMORY_INFO, VIDEO_MODE, ADDRESSES = 1 << 0, 1 << 1, 1 << 2, 1 << 16
KNOWN_MUST = ALIGN_MODULES | MEMORY_INFO | VIDEO_MODE
MUST_MASK = 0xFFFF


@dataclass(frozen=True, slots=True)
class Header:
    """Where it was found, its flags, and the load addresses if flag 16 gives them."""

    offset: int
    flags: int
    addresses: tuple[int, int, int, int, int] | None  # header, load, load end, bss end, entry


def find_header(image: bytes) -> Header | None:
    """The first header in the first 8 KiB: aligned to 4, and its three words sum to 0."""
    for offset in range(0, min(len(image), SEARCH_BYTES) - 11, 4):
        magic, flags, checksum = struct.unpack_from("<3I", image, offset)
        if magic != HEADER_MAGIC or (magic + flags + checksum) & 0xFFFF_FFFF:
            continue
        if not flags & ADDRESSES:
            return Header(offset, flags, None)
        if offset + 32 > len(image):
            raise ImageError("the Multiboot header is cut off by the end of the file")
        return Header(offset, flags, struct.unpack_from("<5I", image, offset + 12))
    return None


def plan(image: bytes, arguments: str = "", *, mode: Mode | None = None, entry: int | None = None) -> Plan:
    """32-bit protected mode, EAX the magic, EBX the information block (from the board). Raises ImageError."""
    header = find_header(image)
    if header is None:
        raise ImageError(f"there is no Multiboot header in the first {SEARCH_BYTES} bytes")
    if mode not in (None, Mode.PROTECTED):
        raise ImageError(f"a Multiboot kernel starts in protected mode; leave out --mode {mode.value}")
    unknown = header.flags & MUST_MASK & ~KNOWN_MUST
    if unknown:
        raise ImageError(f"the Multiboot header demands features {unknown:#x}, which are not known")
    segments, start = _by_addresses(image, header) if header.addresses else _by_elf(image)
    return Plan(
        Kind.MULTIBOOT,
        Mode.PROTECTED,
        segments,
        start if entry is None else entry,
        registers={"rax": LOADER_MAGIC},
        wants_info=True,
        arguments=arguments,
    )


def _by_elf(image: bytes) -> tuple[tuple[Segment, ...], int]:
    if not image.startswith(b"\x7fELF"):
        raise ImageError("the Multiboot header gives no load addresses (flag 16), and the file is not ELF")
    found = elf.parse(image)
    return found.segments, found.physical(found.entry)


def _by_addresses(image: bytes, header: Header) -> tuple[tuple[Segment, ...], int]:
    assert header.addresses is not None
    at, load, load_end, bss_end, entry = header.addresses
    if not load <= at or header.offset < at - load:
        raise ImageError(f"the Multiboot header at {at:#x} is to be loaded from {load:#x}, before the file begins")
    start = header.offset - (at - load)
    stored = (load_end or load + len(image) - start) - load
    if stored <= 0 or start + stored > len(image):
        raise ImageError(f"the Multiboot image is truncated: it wants {start + stored} bytes and has {len(image)}")
    size = max((bss_end or load + stored) - load, stored)
    return (Segment(load, image[start : start + stored], size),), entry


def information(low_bytes: int, high_bytes: int, at: int, arguments: str) -> bytes:
    """The block that EBX points to: memory sizes, memory map and command line, laid out from GPA `at`.

    `low_bytes` of RAM start at 0, `high_bytes` at 4 GiB; 640 KiB to 1 MiB is not RAM for a kernel.
    """
    ranges = [(0, 0xA0000, 1), (0xF0000, 0x10000, 2), (0x100000, low_bytes - 0x100000, 1), (1 << 32, high_bytes, 1)]
    entries = b"".join(struct.pack("<IQQI", 20, base, size, kind) for base, size, kind in ranges if size > 0)
    strings = arguments.encode() + b"\0" + b"pyhv\0"
    flags = 1 << 0 | 1 << 2 | 1 << 6 | 1 << 9
    block = bytearray(88)
    map_at = at + len(block)
    text_at = map_at + len(entries)
    struct.pack_into("<3I", block, 0, flags, 640, max(low_bytes - 0x100000, 0) // 1024)
    struct.pack_into("<I", block, 16, text_at)
    struct.pack_into("<2I", block, 44, len(entries), map_at)
    struct.pack_into("<I", block, 64, text_at + len(arguments.encode()) + 1)
    return bytes(block) + entries + strings
