"""What a loader makes of an image: what lies where, and how the processor starts. Whoever calls places it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class ImageError(ValueError):
    """The image cannot be loaded; the message says what was found and what would do."""


class Mode(StrEnum):
    """The processor mode that the first instruction runs in."""

    REAL = "real"
    PROTECTED = "protected"
    LONG = "long"


class Kind(StrEnum):
    """What sort of program it is: it decides what the board adds to the bare machine."""

    FLAT = "flat binary"
    BOOT_SECTOR = "boot sector"
    DOS = "DOS program"
    ELF = "ELF executable"
    MULTIBOOT = "Multiboot kernel"
    LINUX = "Linux kernel"
    PVH = "PVH kernel"
    FIRMWARE = "firmware"


@dataclass(frozen=True, slots=True)
class Segment:
    """`data` at a GPA, followed by zeros up to `size_bytes`. `rom`: outside RAM, readable and executable only."""

    gpa: int
    data: bytes
    size_bytes: int = 0
    rom: bool = False

    @property
    def end(self) -> int:
        return self.gpa + max(self.size_bytes, len(self.data))


@dataclass(frozen=True, slots=True)
class Window:
    """Guest-virtual addresses that lie elsewhere in guest-physical memory (long mode only)."""

    gva: int
    gpa: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Segments, the way in, and the registers that the program's start rules promise it.

    `entry` is the linear address of the first instruction; for real mode `code_base` is CS.base (a multiple of 16).
    `registers` are by name, as on `cpu.regs`. `wants_info` asks the board for a Multiboot information block;
    a `setup_header` asks it for Linux's boot parameters, Kind.PVH for the PVH start block. `initrd` is put somewhere
    that ends at or below `initrd_max`, and the kernel is told where.
    """

    kind: Kind
    mode: Mode
    segments: tuple[Segment, ...]
    entry: int
    code_base: int = 0
    registers: Mapping[str, int] = field(default_factory=dict)
    windows: tuple[Window, ...] = ()
    wants_info: bool = False
    setup_header: bytes = b""
    arguments: str = ""
    initrd: bytes = b""
    initrd_max: int = 0xFFFF_FFFF
