"""Flat binaries: bytes that are put at an address and run, boot sectors among them."""

from __future__ import annotations

from ..plan import ImageError, Kind, Mode, Plan, Segment

BOOT_SECTOR_BYTES = 512
BOOT_SIGNATURE = b"\x55\xaa"
BOOT_SECTOR_AT = 0x7C00
BOOT_DRIVE = 0x80  # the first hard disk, in DL
FLAT_AT = 0x1000
REAL_MODE_END = 0x10_0000


def is_boot_sector(image: bytes) -> bool:
    return len(image) == BOOT_SECTOR_BYTES and image.endswith(BOOT_SIGNATURE)


def plan(image: bytes, *, mode: Mode | None, load_at: int | None, entry: int | None) -> Plan:
    """A boot sector at 0x7C00, anything else at 0x1000, in real mode; all three can be chosen.

    The first instruction is the first byte unless `entry` says otherwise. Raises ImageError where they do not fit.
    """
    boot = is_boot_sector(image) and load_at is None
    at = load_at if load_at is not None else BOOT_SECTOR_AT if boot else FLAT_AT
    start = at if entry is None else entry
    mode = mode or Mode.REAL
    if not at <= start < at + len(image):
        raise ImageError(f"the entry {start:#x} is not inside the image, which lies at {at:#x} to {at + len(image):#x}")
    if mode is Mode.REAL and start >= REAL_MODE_END:
        raise ImageError(f"real mode reaches the first 1 MiB, not {start:#x}; choose --mode protected or long")
    code_base = 0 if start < 0x10000 else start & ~0xF
    if mode is not Mode.REAL:
        code_base = 0
    registers = {"rdx": BOOT_DRIVE, "rsp": BOOT_SECTOR_AT} if boot and mode is Mode.REAL else {}
    kind = Kind.BOOT_SECTOR if boot else Kind.FLAT
    return Plan(kind, mode, (Segment(at, image),), start, code_base, registers)
