"""Guest-physical memory: the table of all rights, and the memory slots that KVM has for some of them.

A slot can be readable, writable and executable, or all but writable. Memory with other rights has no slot: each
access of the guest then comes to the engine, which looks at the table (`GuestMemory`, the software CPU's own).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from ctypes import addressof, create_string_buffer
from dataclasses import dataclass, replace
from fcntl import ioctl
from typing import Final

from ... import _silicon
from ...errors import NoResources
from . import abi

_READ, _WRITE, _EXEC = 1, 2, 4
_RWX: Final = _READ | _WRITE | _EXEC
_SLOT_FLAGS: Final = {_RWX: 0, _READ | _EXEC: abi.MEM_READONLY}
_LOG: Final = abi.MEM_LOG_DIRTY_PAGES
_PAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class Piece:
    """Memory with the same rights; `slot` is None where KVM has none for them."""

    gpa: int
    host: int
    size: int
    perm: int
    slot: int | None
    logged: bool = False  # by KVM too

    @property
    def end(self) -> int:
        """The GPA behind it."""
        return self.gpa + self.size


class KvmMemory:
    """The guest-physical address space of one VM."""

    def __init__(self, vm_fd: int, slots: int, activity: Callable[[], object]) -> None:
        """`activity`: equal at two moments when no vCPU was in KVM at and between them, else None at one of them."""
        self._fd, self._most, self._activity = vm_fd, slots, activity
        self._pieces: list[Piece] = []
        self._free: list[int] = []
        self._used = 0
        self._lock = threading.Lock()
        self._seen: _silicon.GuestMemory | None = None
        self.table = table = _silicon.GuestMemory()
        self.mapped_bytes = table.mapped_bytes
        self.read = table.read
        self.write = table.write
        self.mark = table.mark_written

    def map(self, gpa: int, host: int, size: int, perm: int) -> None:
        """Back a range with host memory."""
        with self._lock:
            self.table.map(gpa, host, size, perm)
            try:
                self._add(gpa, host, size, perm)
            except NoResources:
                self.table.unmap(gpa, size)
                raise

    def unmap(self, gpa: int, size: int) -> None:
        """Take a range away; no vCPU touches it any more when this returns."""
        with self._lock:
            self.table.unmap(gpa, size)
            self._cut(gpa, gpa + size)

    def protect(self, gpa: int, size: int, perm: int) -> None:
        """Give a range other rights."""
        with self._lock:
            self.table.protect(gpa, size, perm)
            for piece in self._cut(gpa, gpa + size):
                self._add(piece.gpa, piece.host, piece.size, perm)

    # The dirty log. Slots are logged by KVM, other stores (the twin's, write(), memory without a slot) by the table.

    def start(self, gpa: int, size: int) -> None:
        """Log a range."""
        self._log(gpa, size, True)

    def stop(self, gpa: int, size: int) -> None:
        """No longer."""
        self._log(gpa, size, False)

    def _log(self, gpa: int, size: int, on: bool) -> None:
        with self._lock:
            self.table.log(gpa, size, on)
            for piece in [piece for piece in self._pieces if piece.gpa < gpa + size and gpa < piece.end]:
                logged = self._has_to_log(piece.perm, piece.gpa, piece.size)
                if piece.slot is not None and logged != piece.logged:
                    self._set(piece.slot, _LOG if logged else 0, piece.gpa, piece.size, piece.host)
                    self._pieces[self._pieces.index(piece)] = replace(piece, logged=logged)

    def take(self, gpa: int, size: int) -> bytes:
        """The pages that were written, a bit each."""
        with self._lock:
            for piece in self._pieces:
                if piece.gpa < gpa + size and gpa < piece.end:
                    self._harvest(piece)
            return self.table.take_written(gpa, size)

    def _has_to_log(self, perm: int, gpa: int, size: int) -> bool:
        return perm == _RWX and self.table.logged_pages(gpa, size) > 0

    def _harvest(self, piece: Piece) -> None:
        """What KVM has logged goes into the table."""
        if not piece.logged:
            return
        bitmap = create_string_buffer(-(-piece.size // (64 * _PAGE)) * 8)
        ioctl(self._fd, abi.Ioctl.GET_DIRTY_LOG, abi.DIRTY_LOG.pack(piece.slot, addressof(bitmap)))
        self.table.mark_pages(piece.gpa, bitmap.raw)

    def read_only(self) -> _silicon.GuestMemory:
        """The same memory for somebody who must not write."""
        with self._lock:
            if self._seen is None:
                self._seen = _silicon.GuestMemory()
                for piece in self._pieces:
                    self._seen.map(piece.gpa, piece.host, piece.size, piece.perm & ~_WRITE)
            return self._seen

    def load(self, gpa: int, size: int) -> bytes | None:
        """What an access without a slot reads; None where the guest may not, or nothing is mapped."""
        return self.table.read(gpa, size) if self._allows(gpa, _READ) else None

    def store(self, gpa: int, data: bytes) -> bool:
        """Do an access without a slot; False where the guest may not, or nothing is mapped."""
        if not self._allows(gpa, _WRITE):
            return False
        self.table.write(gpa, data)
        return True

    def _allows(self, gpa: int, right: int) -> bool:
        found = self.table.lookup(gpa)
        return found is not None and bool(found[1] & right)

    def _cut(self, first: int, end: int) -> list[Piece]:
        """Take `first` … `end` out of all pieces, and return what was there."""
        hit = [piece for piece in self._pieces if piece.gpa < end and first < piece.end]
        gone = []
        for piece in hit:
            self._drop(piece)
            inside = _part(piece, max(first, piece.gpa), min(end, piece.end))
            gone.append(inside)
            for rest in _around(piece, inside):
                self._add(rest.gpa, rest.host, rest.size, rest.perm)
        return gone

    def _add(self, gpa: int, host: int, size: int, perm: int) -> None:
        slot, logged = None, False
        if perm in _SLOT_FLAGS:
            slot = self._take_slot()
            logged = self._has_to_log(perm, gpa, size)
            self._set(slot, _LOG if logged else _SLOT_FLAGS[perm], gpa, size, host)
        self._pieces.append(Piece(gpa, host, size, perm, slot, logged))
        if self._seen is not None:
            self._seen.map(gpa, host, size, perm & ~_WRITE)

    def _drop(self, piece: Piece) -> None:
        self._pieces.remove(piece)
        if self._seen is not None:
            self._seen.unmap(piece.gpa, piece.size)
        if piece.slot is None:
            return
        before = self._activity() if piece.logged else None
        self._harvest(piece)
        self._set(piece.slot, 0, piece.gpa, 0, piece.host)
        self._free.append(piece.slot)
        if piece.logged and (before is None or self._activity() != before):
            self.table.mark_written(piece.gpa, piece.size)  # a log ends with its slot: what came last may not be in it

    def _take_slot(self) -> int:
        if self._free:
            return self._free.pop()
        if self._used == self._most:
            raise NoResources(
                f"KVM has {self._most} memory slots for a VM, and all are taken: map fewer, larger ranges"
            )
        self._used += 1
        return self._used - 1

    def _set(self, slot: int, flags: int, gpa: int, size: int, host: int) -> None:
        ioctl(self._fd, abi.Ioctl.SET_USER_MEMORY_REGION, abi.USER_MEMORY_REGION.pack(slot, flags, gpa, size, host))


def _part(piece: Piece, first: int, end: int) -> Piece:
    return Piece(first, piece.host + first - piece.gpa, end - first, piece.perm, None)


def _around(piece: Piece, inside: Piece) -> Iterator[Piece]:
    if piece.gpa < inside.gpa:
        yield _part(piece, piece.gpa, inside.gpa)
    if inside.end < piece.end:
        yield _part(piece, inside.end, piece.end)
