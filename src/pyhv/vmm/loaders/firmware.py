"""Firmware images: they end at 4 GiB, where the processor's reset vector is, and a copy of them ends at 1 MiB.

Intel SDM vol. 3A, "First Instruction Executed"; the copy below 1 MiB is how PC chipsets show the ROM to real mode.
"""

from __future__ import annotations

from ..plan import ImageError, Kind, Mode, Plan, Segment

BLOCK = 64 << 10
MAX_BYTES = 16 << 20
LOW_COPY_BYTES = 256 << 10  # from 0xC0000: what lies below 1 MiB besides memory and screen
FOUR_GIB, ONE_MIB = 1 << 32, 1 << 20
RESET_VECTOR = FOUR_GIB - 16
RESET_CODE_BASE = 0xFFFF0000
_FIRST_OPCODES = (b"\xea", b"\xe9", b"\xeb", b"\x90", b"\x0f\x09", b"\xfa", b"\xfc", b"\x66\xea")


def looks_like(image: bytes) -> bool:
    """Whole blocks of 64 KiB, with a jump (or what usually comes before one) at the reset vector."""
    return len(image) % BLOCK == 0 and 0 < len(image) <= MAX_BYTES and image[-16:].startswith(_FIRST_OPCODES)


def plan(image: bytes) -> Plan:
    """ROM ending at 4 GiB, a writable copy of its last 256 KiB ending at 1 MiB, and the processor as after RESET."""
    if len(image) % BLOCK or len(image) > MAX_BYTES:
        raise ImageError(f"firmware is a multiple of 64 KiB up to 16 MiB; this file has {len(image)} bytes")
    low = image[-LOW_COPY_BYTES:]
    segments = (Segment(FOUR_GIB - len(image), image, rom=True), Segment(ONE_MIB - len(low), low))
    return Plan(Kind.FIRMWARE, Mode.REAL, segments, RESET_VECTOR, RESET_CODE_BASE)
