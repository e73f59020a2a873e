"""Files of the host's directory beside the program, read-only, by DOS names and handles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from fnmatch import fnmatchcase
from io import SEEK_SET, BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Self

FIRST_FILE_HANDLE = 5
MAX_HANDLES = 20


class DosCode(IntEnum):
    """Error codes in AX. MS-DOS Programmer's Reference, "Error values"."""

    INVALID_FUNCTION = 1
    FILE_NOT_FOUND = 2
    PATH_NOT_FOUND = 3
    TOO_MANY_OPEN_FILES = 4
    ACCESS_DENIED = 5
    INVALID_HANDLE = 6
    NOT_ENOUGH_MEMORY = 8
    INVALID_BLOCK = 9
    INVALID_DRIVE = 15
    NO_MORE_FILES = 18


class DosError(Exception):
    """A service failed: carry set, the code in AX."""

    def __init__(self, code: DosCode) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as a directory shows it."""

    name: str
    size_bytes: int
    attributes: int
    modified: datetime

    @property
    def dos_time(self) -> int:
        m = self.modified
        return m.hour << 11 | m.minute << 5 | m.second // 2

    @property
    def dos_date(self) -> int:
        m = self.modified
        return max(m.year - 1980, 0) << 9 | m.month << 5 | m.day


READ_ONLY, DIRECTORY = 0x01, 0x10


class Files:
    """The directory `root` as drive C:. Nothing outside it can be named, by `..`, drive, or symbolic link."""

    def __init__(self, root: Path | None) -> None:
        self._root = root.resolve() if root else None
        self._open: dict[int, BufferedReader] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_all()

    def open(self, name: str) -> int:
        """A new handle on a file, for reading. Raises DosError."""
        path = self.find(name)
        if path.is_dir():
            raise DosError(DosCode.ACCESS_DENIED)
        handle = next((n for n in range(FIRST_FILE_HANDLE, MAX_HANDLES) if n not in self._open), None)
        if handle is None:
            raise DosError(DosCode.TOO_MANY_OPEN_FILES)
        try:
            self._open[handle] = path.open("rb")
        except OSError:
            raise DosError(DosCode.ACCESS_DENIED) from None
        return handle

    def duplicate(self, handle: int) -> int:
        """Another handle on the same file and position."""
        file = self._file(handle)
        new = next((n for n in range(FIRST_FILE_HANDLE, MAX_HANDLES) if n not in self._open), None)
        if new is None:
            raise DosError(DosCode.TOO_MANY_OPEN_FILES)
        self._open[new] = file
        return new

    def close(self, handle: int) -> None:
        file = self._file(handle)
        del self._open[handle]
        if file not in self._open.values():
            file.close()

    def close_all(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()

    def read(self, handle: int, size: int) -> bytes:
        return self._file(handle).read(size)

    def seek(self, handle: int, offset: int, whence: int) -> int:
        """The new position in bytes. Before the start, or an unknown `whence` (0 start, 1 here, 2 end): DosError."""
        file = self._file(handle)
        if whence > 2:
            raise DosError(DosCode.INVALID_FUNCTION)
        start = (0, file.tell(), os.fstat(file.fileno()).st_size)[whence]
        if start + offset < 0:
            raise DosError(DosCode.INVALID_FUNCTION)
        return file.seek(start + offset, SEEK_SET)

    def stamp(self, handle: int) -> Entry:
        return self._entry(Path(self._file(handle).name))

    def is_open(self, handle: int) -> bool:
        return handle in self._open

    def entry(self, name: str) -> Entry:
        return self._entry(self.find(name))

    def matching(self, pattern: str) -> Iterator[Entry]:
        """The files whose 8.3 names fit a DOS pattern such as `*.TXT`."""
        folder, _, last = pattern.replace("/", "\\").rpartition("\\")
        if len(last) > 1 and last[1] == ":":
            last = last[2:]
        wanted = "*" if last == "*.*" else last.upper()
        for path in sorted(self.find(folder or ".").iterdir()):
            if fnmatchcase(path.name.upper(), wanted) and _fits_8_3(path.name) and self._inside(path):
                yield self._entry(path)

    def find(self, name: str) -> Path:
        """The host path that a DOS name means; letters match without case. Raises DosError."""
        if self._root is None:
            raise DosError(DosCode.FILE_NOT_FOUND)
        if len(name) > 1 and name[1] == ":":
            if name[0].upper() != "C":
                raise DosError(DosCode.INVALID_DRIVE)
            name = name[2:]
        path, parts = self._root, [p for p in name.replace("/", "\\").split("\\") if p not in ("", ".")]
        for number, part in enumerate(parts):
            path = path.parent if part == ".." else self._child(path, part, last=number == len(parts) - 1)
            if not self._inside(path):
                raise DosError(DosCode.PATH_NOT_FOUND)
        return path

    def _child(self, folder: Path, name: str, *, last: bool) -> Path:
        try:
            found = [p for p in folder.iterdir() if p.name.upper() == name.upper()]
        except OSError:
            raise DosError(DosCode.PATH_NOT_FOUND) from None
        if not found:
            raise DosError(DosCode.FILE_NOT_FOUND if last else DosCode.PATH_NOT_FOUND)
        return next((p for p in found if p.name == name), found[0])

    def _inside(self, path: Path) -> bool:
        assert self._root is not None
        return path.resolve().is_relative_to(self._root)

    def _entry(self, path: Path) -> Entry:
        stat = path.stat()
        attributes = DIRECTORY if path.is_dir() else READ_ONLY
        return Entry(path.name.upper(), stat.st_size, attributes, datetime.fromtimestamp(stat.st_mtime))

    def _file(self, handle: int) -> BufferedReader:
        if handle not in self._open:
            raise DosError(DosCode.INVALID_HANDLE)
        return self._open[handle]


def _fits_8_3(name: str) -> bool:
    stem, _, suffix = name.partition(".")
    return 0 < len(stem) <= 8 and len(suffix) <= 3 and "." not in suffix
