"""DOS .COM programs: one segment, entered at offset 0x100 behind a program segment prefix.

The prefix's fields: Microsoft MS-DOS Programmer's Reference, "Program Segment Prefix".
"""

from __future__ import annotations

from ..plan import ImageError, Kind, Mode, Plan, Segment

PSP_SEGMENT = 0x0100
ENVIRONMENT_SEGMENT = 0x00E0
MEMORY_END_SEGMENT = 0xA000
CODE_OFFSET = 0x100
SEGMENT_BYTES = 0x10000
STACK_RESERVE = 0x100  # room for a stack above the program
COMMAND_TAIL_MAX = 126


def plan(image: bytes, arguments: str = "", *, mode: Mode | None = None, entry: int | None = None) -> Plan:
    """The program, its prefix with `arguments` as the command tail, and an environment. Raises ImageError."""
    if mode not in (None, Mode.REAL) or entry is not None:
        raise ImageError("a DOS .COM program starts in real mode at its first byte; leave out --mode and --entry")
    room = SEGMENT_BYTES - CODE_OFFSET - STACK_RESERVE
    if len(image) > room:
        raise ImageError(f"a DOS .COM program has at most {room} bytes; this file has {len(image)}")
    base = PSP_SEGMENT << 4
    segments = (
        Segment(ENVIRONMENT_SEGMENT << 4, _environment()),
        Segment(base, _prefix(arguments)),
        Segment(base + CODE_OFFSET, image),
    )
    # SP points at a zero word: a plain RET goes to the INT 20h at the start of the prefix
    return Plan(Kind.DOS, Mode.REAL, segments, base + CODE_OFFSET, base, {"rsp": 0xFFFE}, arguments=arguments)


def _environment() -> bytes:
    strings = b"COMSPEC=C:\\COMMAND.COM\0PATH=C:\\\0\0"
    return strings + (1).to_bytes(2, "little") + b"C:\\PROGRAM.COM\0"


def _prefix(arguments: str) -> bytes:
    tail = (" " + arguments if arguments else "").encode("cp437", "replace")
    if len(tail) > COMMAND_TAIL_MAX:
        raise ImageError(f"the arguments of a DOS program have at most {COMMAND_TAIL_MAX - 1} characters")
    prefix = bytearray(CODE_OFFSET)
    prefix[0:2] = b"\xcd\x20"  # INT 20h
    prefix[2:4] = MEMORY_END_SEGMENT.to_bytes(2, "little")
    prefix[0x16:0x18] = PSP_SEGMENT.to_bytes(2, "little")  # its own parent
    prefix[0x18:0x2C] = bytes((1, 1, 1, 0, 2)) + b"\xff" * 15  # the job file table
    prefix[0x2C:0x2E] = ENVIRONMENT_SEGMENT.to_bytes(2, "little")
    prefix[0x32:0x34] = (20).to_bytes(2, "little")
    prefix[0x34:0x38] = (0x18).to_bytes(2, "little") + PSP_SEGMENT.to_bytes(2, "little")
    prefix[0x50:0x53] = b"\xcd\x21\xcb"  # INT 21h, RETF
    for block in (0x5C, 0x6C):
        prefix[block : block + 12] = b"\0" + b" " * 11
    prefix[0x80] = len(tail)
    prefix[0x81 : 0x81 + len(tail) + 1] = tail + b"\r"
    return bytes(prefix)
