"""Images made by hand: ELF files with every header field in reach, Multiboot headers, flat bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

EM_386, EM_X86_64, EM_AARCH64 = 3, 62, 183
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_INTERP = 1, 3
RWX = 7


@dataclass
class Load:
    vaddr: int
    data: bytes = b"\xf4"
    paddr: int | None = None
    memsz: int | None = None
    filesz: int | None = None
    kind: int = PT_LOAD


@dataclass
class Elf:
    bits: int = 64
    machine: int = EM_X86_64
    kind: int = ET_EXEC
    entry: int = 0x100000
    big_endian: bool = False
    loads: list[Load] = field(default_factory=lambda: [Load(0x100000)])

    def __bytes__(self) -> bytes:
        end = ">" if self.big_endian else "<"
        wide = self.bits == 64
        head, entry_size = (64, 56) if wide else (52, 32)
        ident = b"\x7fELF" + bytes([2 if wide else 1, 2 if self.big_endian else 1, 1]) + bytes(9)
        word = "Q" if wide else "I"
        header = ident + struct.pack(
            f"{end}HHI3{word}IHHHHHH",
            self.kind, self.machine, 1, self.entry, head, 0, 0, head, entry_size, len(self.loads), 0, 0, 0,
        )  # fmt: skip
        offset = head + entry_size * len(self.loads)
        programs, contents = b"", b""
        for load in self.loads:
            paddr = load.vaddr if load.paddr is None else load.paddr
            filesz = len(load.data) if load.filesz is None else load.filesz
            memsz = filesz if load.memsz is None else load.memsz
            at = offset + len(contents)
            if wide:
                programs += struct.pack(f"{end}IIQQQQQQ", load.kind, RWX, at, load.vaddr, paddr, filesz, memsz, 1)
            else:
                programs += struct.pack(f"{end}IIIIIIII", load.kind, at, load.vaddr, paddr, filesz, memsz, RWX, 1)
            contents += load.data
        return header + programs + contents


def multiboot_header(flags: int = 0, *addresses: int) -> bytes:
    magic = 0x1BADB002
    return struct.pack(f"<{3 + len(addresses)}I", magic, flags, -(magic + flags) & 0xFFFFFFFF, *addresses)


@dataclass
class Linux:
    """A kernel image: one setup sector, `code` behind it, and the header's fields as they are given."""

    code: bytes = b"\xf4" * 0x400
    version: int = 0x020C
    setup_sectors: int = 1
    boot_flag: int = 0xAA55
    load_flags: int = 1
    relocatable: int = 0
    preferred: int = 0x10_0000
    memory_bytes: int = 0x8000
    has_entry_64: int = 1
    command_line_max: int = 255
    protected_bytes: int | None = None

    def __bytes__(self) -> bytes:
        head = bytearray(512 * (self.setup_sectors + 1))
        stored = len(self.code) if self.protected_bytes is None else self.protected_bytes
        head[0x1F1] = self.setup_sectors
        struct.pack_into("<I", head, 0x1F4, stored // 16)
        struct.pack_into("<H", head, 0x1FE, self.boot_flag)
        head[0x200:0x206] = b"\xeb\x66HdrS"
        struct.pack_into("<H", head, 0x206, self.version)
        head[0x211] = self.load_flags
        struct.pack_into("<BxH", head, 0x234, self.relocatable, self.has_entry_64)
        struct.pack_into("<I", head, 0x238, self.command_line_max)
        struct.pack_into("<QI", head, 0x258, self.preferred, self.memory_bytes)
        return bytes(head) + self.code
