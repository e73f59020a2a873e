"""Linux kernels, and programs that start like one: the boot protocol of Linux/x86, entered at its 32- or 64-bit entry.

Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" and "32-bit Boot Protocol"; the page that the
kernel gets: Documentation/arch/x86/zero-page.rst.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..plan import ImageError, Kind, Mode, Plan, Segment
from . import elf
from .payload import unpack

SECTOR = 512
HEADER_AT = 0x1F1
MAGIC_AT, MAGIC = 0x202, b"HdrS"
BOOT_FLAG_AT, BOOT_FLAG = 0x1FE, b"\x55\xaa"
JUMP_OFFSET_AT = 0x201  # the header ends where the jump at 0x200 goes
OLDEST = 0x0202  # since then the command line is passed by its address
SETUP_SECTORS_OF_OLD = 4  # what 0 in the field means
LOADED_HIGH = 1 << 0
HIGH_AT = 0x10_0000
FOUR_GIB = 1 << 32
ENTRY_64_OFFSET = 0x200
HAS_ENTRY_64 = 1 << 0  # in xloadflags

# The page of boot parameters ("zero page").
PARAMETERS_BYTES = COMMAND_LINE_ROOM = 4096
E820_COUNT_AT, E820_AT, E820_ENTRY_BYTES = 0x1E8, 0x2D0, 20
ALT_MEM_KIB_AT = 0x1E0
LOADER_TYPE_AT, UNDEFINED_LOADER = 0x210, 0xFF
COMMAND_LINE_AT = 0x228
INITRD_AT, INITRD_BYTES_AT, INITRD_MAX_AT = 0x218, 0x21C, 0x22C
ACPI_RSDP_AT = 0x070
VIDEO_MODE_AT, VIDEO_COLUMNS_AT, VIDEO_ROWS_AT, VIDEO_IS_VGA_AT, VIDEO_POINTS_AT = 0x06, 0x07, 0x0E, 0x0F, 0x10
TEXT_MODE, COLUMNS, ROWS, POINTS = 3, 80, 25, 16
RAM, RESERVED = 1, 2
BASE_END = 0x9_FC00  # the extended BIOS data area follows, then the screen and the BIOS


@dataclass(frozen=True, slots=True)
class SetupHeader:
    """What the image says about itself. `raw` is the header's bytes, for the page of boot parameters."""

    raw: bytes
    version: int
    setup_sectors: int
    protected_bytes: int  # how long the part behind the setup sectors should be; 0: not said
    load_at: int
    memory_bytes: int  # what the kernel needs from there, before it looks at the memory map
    has_entry_64: bool
    command_line_max: int
    initrd_max: int  # the highest address that the initrd may occupy
    payload: tuple[int, int]  # offset (from the protected-mode part) and length of the packed kernel; 0: not said


def is_image(image: bytes) -> bool:
    """Whether it has the header's magic: kernels with an EFI stub start with MZ and have it too."""
    return image[MAGIC_AT : MAGIC_AT + 4] == MAGIC


def parse(image: bytes) -> SetupHeader:
    """The header, checked. Raises ImageError for what is cut off, damaged or too old."""
    end = JUMP_OFFSET_AT + 1 + (image[JUMP_OFFSET_AT] if len(image) > JUMP_OFFSET_AT else 0)
    if not is_image(image):
        raise ImageError(f"there is no Linux setup header: {MAGIC.decode()!r} would stand at {MAGIC_AT:#x}")
    if len(image) < max(end, 0x230):
        raise ImageError(f"the Linux image is truncated: {len(image)} bytes end inside its setup header")
    if image[BOOT_FLAG_AT : BOOT_FLAG_AT + 2] != BOOT_FLAG:
        raise ImageError(f"the Linux setup header is damaged: no boot flag 55 AA at {BOOT_FLAG_AT:#x}")
    (version,) = struct.unpack_from("<H", image, 0x206)
    if version < OLDEST:
        raise ImageError(f"the Linux image has boot protocol {_dotted(version)}; {_dotted(OLDEST)} or newer would do")
    if not image[0x211] & LOADED_HIGH:
        raise ImageError("the Linux image is a zImage, which is loaded below 640 KiB; build a bzImage")
    return _fields(image, image[HEADER_AT:end], version)


def _fields(image: bytes, raw: bytes, version: int) -> SetupHeader:
    def since(first: int, form: str, at: int, default: int) -> int:
        return (
            int(struct.unpack_from(form, image, at)[0]) if version >= first and at < HEADER_AT + len(raw) else default
        )

    relocatable = since(0x0205, "<B", 0x234, 0)
    preferred = since(0x020A, "<Q", 0x258, HIGH_AT)
    return SetupHeader(
        raw,
        version,
        image[HEADER_AT] or SETUP_SECTORS_OF_OLD,
        since(0x0204, "<I", 0x1F4, 0) * 16,
        preferred if relocatable else HIGH_AT,
        since(0x020A, "<I", 0x260, 0),
        bool(since(0x020C, "<H", 0x236, 0) & HAS_ENTRY_64),
        min(since(0x0206, "<I", 0x238, 255), COMMAND_LINE_ROOM - 1),
        since(0x0203, "<I", INITRD_MAX_AT, 0x37FF_FFFF),
        (since(0x0208, "<I", 0x248, 0), since(0x0208, "<I", 0x24C, 0)),
    )


def plan(
    image: bytes, arguments: str = "", *, mode: Mode | None = None, entry: int | None = None, initrd: bytes = b""
) -> Plan:
    """The protected-mode part where it wants to lie, entered there with ESI (from the board) at its boot parameters.

    `mode` long takes the 64-bit entry, if the image has one. Raises ImageError.
    """
    header = parse(image)
    if entry is not None:
        raise ImageError("a Linux kernel says itself where it starts; leave out --entry")
    if mode is Mode.REAL:
        raise ImageError("a Linux kernel's real-mode part needs a BIOS with disks; leave out --mode real")
    if mode is Mode.LONG and not header.has_entry_64:
        raise ImageError("this Linux image has no 64-bit entry; leave out --mode long")
    _check_command_line(header, arguments)
    code = _protected_part(image, header)
    if header.load_at + max(header.memory_bytes, len(code)) > FOUR_GIB:
        raise ImageError(f"the Linux image wants to lie at {header.load_at:#x}, which is not below 4 GiB")
    segment = Segment(header.load_at, code, max(header.memory_bytes, len(code)))
    at = header.load_at + (ENTRY_64_OFFSET if mode is Mode.LONG else 0)
    return _plan(header, mode or Mode.PROTECTED, (segment,), at, arguments=arguments, initrd=initrd)


def unpacked_plan(image: bytes, arguments: str = "", *, initrd: bytes = b"") -> Plan:
    """The kernel out of the image, unpacked here and entered at its own 64-bit entry: the guest's unpacking is saved.

    A kernel that is packed in a way that only it knows, or is not 64-bit, starts by its own unpacker. Raises
    ImageError.
    """
    header = parse(image)
    _check_command_line(header, arguments)
    offset, size = header.payload
    code = _protected_part(image, header)
    if size and offset + size > len(code):
        raise ImageError(
            f"the Linux image is truncated: its packed kernel ends at {offset + size} of {len(code)} bytes"
        )
    kernel = unpack(code[offset : offset + size]) if size and header.has_entry_64 else None
    if kernel is None:
        return plan(image, arguments, mode=Mode.LONG if header.has_entry_64 else None, initrd=initrd)
    found = elf.parse(kernel)
    if found.mode is not Mode.LONG:
        return plan(image, arguments, initrd=initrd)
    segments = found.segments
    if not any(segment.gpa <= found.entry < segment.end for segment in segments):
        raise ImageError(f"the kernel's entry {found.entry:#x} is in none of the segments that it loads")
    return _plan(header, Mode.LONG, segments, found.entry, arguments=arguments, initrd=initrd)


def _plan(
    header: SetupHeader, mode: Mode, segments: tuple[Segment, ...], entry: int, *, arguments: str, initrd: bytes
) -> Plan:
    if initrd and header.initrd_max < HIGH_AT:
        raise ImageError(f"this kernel takes its initrd below {header.initrd_max:#x} only, where there is no room")
    return Plan(
        Kind.LINUX,
        mode,
        segments,
        entry,
        setup_header=header.raw,
        arguments=arguments,
        initrd=initrd,
        initrd_max=header.initrd_max,
    )


def _check_command_line(header: SetupHeader, arguments: str) -> None:
    if len(arguments.encode()) > header.command_line_max:
        raise ImageError(f"the command line has {len(arguments.encode())} bytes; it takes {header.command_line_max}")


def _protected_part(image: bytes, header: SetupHeader) -> bytes:
    """What follows the setup sectors. Raises ImageError when it is cut off."""
    start = (header.setup_sectors + 1) * SECTOR
    code = image[start : start + header.protected_bytes] if header.protected_bytes else image[start:]
    if not code or len(code) + 15 < header.protected_bytes:
        wanted = start + (header.protected_bytes or 1)
        raise ImageError(f"the Linux image is truncated: {len(image)} bytes, and its header speaks of {wanted}")
    return code


def boot_parameters(
    header: bytes,
    low_bytes: int,
    high_bytes: int,
    at: int,
    arguments: str,
    *,
    initrd: tuple[int, int] = (0, 0),
    rsdp_at: int = 0,
    screen: bool = True,
) -> bytes:
    """The page that ESI points to, with the command line behind it, laid out from GPA `at`.

    `low_bytes` of RAM start at 0, `high_bytes` at 4 GiB; the screen and the BIOS area below 1 MiB are no RAM.
    `initrd` is its GPA and size; `screen`: there is a text screen.
    """
    page = bytearray(PARAMETERS_BYTES)
    page[HEADER_AT : HEADER_AT + len(header)] = header
    if screen:
        page[VIDEO_MODE_AT], page[VIDEO_COLUMNS_AT], page[VIDEO_ROWS_AT] = TEXT_MODE, COLUMNS, ROWS
        page[VIDEO_IS_VGA_AT], page[VIDEO_POINTS_AT] = 1, POINTS
    struct.pack_into("<2I", page, INITRD_AT, *initrd)
    struct.pack_into("<Q", page, ACPI_RSDP_AT, rsdp_at)
    page[LOADER_TYPE_AT] = UNDEFINED_LOADER
    struct.pack_into("<I", page, COMMAND_LINE_AT, at + PARAMETERS_BYTES)
    struct.pack_into("<I", page, ALT_MEM_KIB_AT, max(low_bytes - HIGH_AT, 0) // 1024)
    entries = memory_map(low_bytes, high_bytes)
    page[E820_COUNT_AT] = len(entries)
    for number, entry in enumerate(entries):
        struct.pack_into("<QQI", page, E820_AT + number * E820_ENTRY_BYTES, *entry)
    return bytes(page) + arguments.encode() + b"\0"


def memory_map(low_bytes: int, high_bytes: int) -> list[tuple[int, int, int]]:
    """(GPA, bytes, type) as a PC's firmware tells it: "e820"."""
    ranges = [
        (0, BASE_END, RAM),
        (BASE_END, HIGH_AT - BASE_END, RESERVED),
        (HIGH_AT, low_bytes - HIGH_AT, RAM),
        (1 << 32, high_bytes, RAM),
    ]
    return [(base, size, kind) for base, size, kind in ranges if size > 0]


def _dotted(version: int) -> str:
    return f"{version >> 8}.{version & 0xFF:02}"
