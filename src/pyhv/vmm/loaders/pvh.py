"""PVH: an ELF kernel that names a 32-bit entry in a note and gets a start block in EBX.

Xen, docs/misc/pvh.pandoc, "x86/HVM direct boot ABI"; the block: xen/include/public/arch-x86/hvm/start_info.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ..plan import ImageError, Kind, Mode, Plan
from . import elf

OWNER, PHYS32_ENTRY = b"Xen\0", 18
MAGIC, VERSION = 0x336E_C578, 1
INFO_BYTES, MODULE_BYTES, RANGE_BYTES = 56, 32, 24


def find_entry(image: bytes) -> int | None:
    """The physical address in the note XEN_ELFNOTE_PHYS32_ENTRY, or None."""
    try:
        programs = [p.header for p in ELFFile(BytesIO(image)).iter_segments() if p["p_type"] == "PT_NOTE"]
    except (ELFError, ValueError, KeyError, AttributeError, TypeError, OverflowError):
        return None  # whoever loads it says what is wrong
    for program in programs:
        entry = _entry_in(image[program["p_offset"] : program["p_offset"] + program["p_filesz"]])
        if entry is not None:
            return entry
    return None


def _entry_in(notes: bytes) -> int | None:
    at = 0
    while at + 12 <= len(notes):
        name_bytes, value_bytes, kind = struct.unpack_from("<3I", notes, at)
        name = notes[at + 12 : at + 12 + name_bytes]
        start = at + 12 + -(-name_bytes // 4) * 4
        value = notes[start : start + value_bytes]
        if name == OWNER and kind == PHYS32_ENTRY and len(value) in (4, 8):
            return int.from_bytes(value, "little")
        at = start + -(-value_bytes // 4) * 4
    return None


def plan(image: bytes, arguments: str = "", *, initrd: bytes = b"") -> Plan:
    """32-bit protected mode at the note's entry, EBX (from the board) at the start block. Raises ImageError."""
    found = elf.parse(image)
    entry = find_entry(image)
    if entry is None:
        raise ImageError("this ELF file has no PVH entry (a Xen note of type 18); build the kernel with CONFIG_PVH=y")
    if not any(segment.gpa <= entry < segment.end for segment in found.segments):
        raise ImageError(f"the PVH entry {entry:#x} is in none of the segments that the kernel loads")
    return Plan(Kind.PVH, Mode.PROTECTED, found.segments, entry, arguments=arguments, initrd=initrd)


def start_info(
    at: int,
    arguments: str,
    ranges: Sequence[tuple[int, int, int]],
    *,
    initrd: tuple[int, int] = (0, 0),
    rsdp_at: int = 0,
) -> bytes:
    """The block for EBX, laid out from GPA `at`. `ranges` are (GPA, bytes, type) as in e820; `initrd` GPA and size."""
    modules = struct.pack("<4Q", *initrd, 0, 0) if initrd[1] else b""
    table = b"".join(struct.pack("<QQII", *each, 0) for each in ranges)
    modules_at = at + INFO_BYTES
    table_at = modules_at + len(modules)
    line_at = table_at + len(table)
    info = struct.pack(
        "<4I4QII",
        MAGIC,
        VERSION,
        0,
        bool(modules),
        modules_at if modules else 0,
        line_at,
        rsdp_at,
        table_at,
        len(ranges),
        0,
    )
    return info + modules + table + arguments.encode() + b"\0"
