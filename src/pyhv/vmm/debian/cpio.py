"""The archive that Linux takes as initramfs: cpio in the "newc" format.

Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
NAME_MAX = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One file; `data` is a regular file's contents or a link's target, `device` (major, minor) a device's number."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith("/") or "\0" in self.name or len(self.name.encode()) >= NAME_MAX:
            raise ValueError(f"{self.name!r} cannot be a name in an initramfs; names are relative, without NUL")


def directory(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, permissions: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | permissions, data)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int) -> Entry:
    return Entry(name, stat.S_IFCHR | 0o600, device=(major, minor))


def pack(entries: Iterable[Entry]) -> bytes:
    """The archive, with the directories that the names need and a time of 0, so that the same entries give the same."""
    archive = bytearray()
    made: set[str] = set()
    number = 1
    for entry in _with_parents(entries, made):
        archive += _record(number, entry)
        number += 1
    archive += _record(0, Entry(TRAILER, 0))
    return bytes(archive)


def _with_parents(entries: Iterable[Entry], made: set[str]) -> Iterable[Entry]:
    for entry in entries:
        parts = entry.name.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent not in made:
                made.add(parent)
                yield directory(parent)
        if entry.name not in made:
            made.add(entry.name)
            yield entry


def _record(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = MAGIC + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
