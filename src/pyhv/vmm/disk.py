"""Disk images: raw files (or block devices) that devices read and write.

A write is in the host's page cache when it is done, so a killed program loses none; `flush` puts it on the medium.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

SECTOR = 512
ZEROES = bytes(1 << 20)
_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 1, 2, 16  # fallocate(2)
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV)


class DiskError(Exception):
    """A request that the disk cannot do: outside it, read-only, or an error of the host's."""


class Disk:
    """A raw image, locked while it is open: one writer, or any number of readers."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Raises OSError where the file cannot be opened, DiskError where it cannot be a disk."""
        self.path, self.read_only = path, read_only
        self.serial = path.name
        self._fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        try:
            self.size_bytes = self._measured()
            self._lock()
        except BaseException:
            os.close(self._fd)
            raise
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._fd)

    def check(self, at: int, size_bytes: int) -> None:
        """Raises DiskError unless all of it lies on the disk."""
        if at < 0 or size_bytes < 0 or at + size_bytes > self.size_bytes:
            raise DiskError(
                f"{self.path.name} has {self.size_bytes} bytes, and a request wants {at} to {at + size_bytes}"
            )

    def read(self, at: int, size_bytes: int) -> bytes:
        self.check(at, size_bytes)
        try:
            data = os.pread(self._fd, size_bytes, at)
        except OSError as error:
            raise DiskError(f"{self.path.name}: reading {size_bytes} bytes at {at}: {error.strerror}") from None
        return data if len(data) == size_bytes else data + bytes(size_bytes - len(data))  # somebody cut the file

    def write(self, at: int, data: bytes) -> None:
        self._require_writable()
        self.check(at, len(data))
        try:
            while data:
                done = os.pwrite(self._fd, data, at)
                data, at = data[done:], at + done
        except OSError as error:
            raise DiskError(f"{self.path.name}: writing at {at}: {error.strerror}") from None

    def flush(self) -> None:
        """All that was written is on the medium when this returns."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS):  # what cannot be synchronised has nothing to lose
                raise DiskError(f"{self.path.name}: flushing: {error.strerror}") from None

    def discard(self, at: int, size_bytes: int) -> None:
        """The range is not needed: a hole where the host can make one, else nothing."""
        self._require_writable()
        self.check(at, size_bytes)
        self._allocate(_PUNCH_HOLE | _KEEP_SIZE, at, size_bytes)

    def write_zeroes(self, at: int, size_bytes: int, *, unmap: bool) -> None:
        """The range reads as zeros afterwards; with `unmap` the host may give its room back."""
        self._require_writable()
        self.check(at, size_bytes)
        if self._allocate(_PUNCH_HOLE | _KEEP_SIZE if unmap else _ZERO_RANGE | _KEEP_SIZE, at, size_bytes):
            return
        end = at + size_bytes
        while at < end:
            self.write(at, ZEROES[: end - at])
            at += min(len(ZEROES), end - at)

    def _measured(self) -> int:
        kind = os.fstat(self._fd).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISBLK(kind)):
            raise DiskError(f"{self.path} is no regular file and no block device, so it cannot be a disk")
        size = os.lseek(self._fd, 0, os.SEEK_END)
        if os.pread(self._fd, 4, 0) == b"QFI\xfb":
            raise DiskError(f"{self.path} is a qcow2 image; `qemu-img convert -O raw` makes a raw one, which works")
        if size < SECTOR or size % SECTOR:
            raise DiskError(f"{self.path} has {size} bytes; a disk is one or more whole sectors of {SECTOR}")
        return size

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_SH if self.read_only else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DiskError(
                f"{self.path} is used by another machine now; read-only (,ro) several can share it"
            ) from None
        except OSError:  # a file system without locks
            pass

    def _require_writable(self) -> None:
        if self.read_only:
            raise DiskError(f"{self.path.name} is read-only, and a request wants to change it")

    def _allocate(self, mode: int, at: int, size_bytes: int) -> bool:
        """fallocate(2), which Python does not have; False where the file system cannot."""
        if not size_bytes:
            return True
        call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
        if call is None:
            return False
        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        if call(self._fd, mode, at, size_bytes) == 0:
            return True
        code = ctypes.get_errno()
        if code not in _CANNOT:
            raise DiskError(f"{self.path.name}: giving up {size_bytes} bytes at {at}: {os.strerror(code)}")
        return False
