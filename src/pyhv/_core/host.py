"""What the host process has mapped.

A range nobody has mapped, or that cannot be written, is found before a guest uses it.
"""

from __future__ import annotations

import fcntl
import struct
import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, SupportsIndex

from .. import _silicon
from ..errors import BadArgument, Denied, NoResources
from .checks import aligned, integer
from .forks import after_fork_in_child
from .perm import Perm

_MAPS: Final = Path("/proc/self/maps")
_QUERY: Final = struct.Struct("=6Q56x")  # size, flags of the query, address; start, end, flags of the answer; …
_PROCMAP_QUERY: Final = 0xC068_6611
_READABLE, _WRITABLE = 1, 2
_given: Final[dict[int, _silicon.HostMemory]] = {}  # by address: what `allocate` gave out
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class HostRange:
    """One line of /proc/self/maps: HVAs `start` to `end`, and whether they can be read and written now."""

    start: int
    end: int
    readable: bool
    writable: bool


def parse_maps(text: str) -> list[HostRange]:
    """The ranges of a /proc/PID/maps, lowest first. Source: Linux, Documentation/filesystems/proc.rst."""
    return [_range_of(line) for line in text.splitlines()]


def _range_of(line: str) -> HostRange:
    bounds, rights, _ = line.split(" ", 2)
    start, _, end = bounds.partition("-")
    return HostRange(int(start, 16), int(end, 16), rights[0] == "r", rights[1] == "w")


def _end_of(line: str) -> int:
    return int(line[line.index("-") + 1 : line.index(" ")], 16)


def _ranges_from(address: int) -> Iterator[HostRange]:
    """The range around an address and those that follow it without a hole."""
    with _MAPS.open("rb", buffering=0) as maps:
        try:
            while True:
                entry = _ask_kernel(maps.fileno(), address)
                yield entry
                address = entry.end
        except FileNotFoundError:
            return
        except OSError:
            pass  # Linux before 6.11
    lines = _MAPS.read_text().splitlines()
    for line in lines[bisect_right(lines, address, key=_end_of) :]:
        entry = _range_of(line)
        if entry.start > address:
            return
        yield entry
        address = entry.end


def _ask_kernel(maps: int, address: int) -> HostRange:
    """The range around an address, without a line of text for every other one. Raises FileNotFoundError for none.

    Source: Linux, Documentation/filesystems/proc.rst, "PROCMAP_QUERY"; include/uapi/linux/fs.h, struct procmap_query.
    """
    query = bytearray(_QUERY.size)
    _QUERY.pack_into(query, 0, len(query), 0, address, 0, 0, 0)
    fcntl.ioctl(maps, _PROCMAP_QUERY, query)
    _, _, _, start, end, flags = _QUERY.unpack(query)
    return HostRange(start, end, bool(flags & _READABLE), bool(flags & _WRITABLE))


def require_mapped(address: int, size: int, perm: Perm) -> Perm:
    """Check that this process has mapped `size` bytes at HVA `address` and may itself do what `perm` gives the guest.

    Returns all that it may do there, on every page. Raises BadArgument where nobody has mapped something, Denied where
    host pages are not readable or not writable. EXEC asks nothing of the host.
    """
    end, position, rights = address + size, address, Perm.RWX
    for entry in _ranges_from(address):
        _require_rights(entry, position, perm)
        rights &= _rights_of(entry)
        position = entry.end
        if position >= end:
            return rights
    raise BadArgument(
        f"host memory {address:#x} to {end:#x}: nobody in this process has mapped {position:#x};"
        " map it first (mmap, hv_vm_allocate), or pass a buffer"
    )


def _rights_of(entry: HostRange) -> Perm:
    if not entry.readable:
        return Perm.NONE
    return Perm.RWX if entry.writable else Perm.RX


def _require_rights(entry: HostRange, position: int, perm: Perm) -> None:
    if perm & Perm.WRITE and not entry.writable:
        raise Denied(
            f"host memory at {position:#x} is not writable, so the guest cannot have WRITE; READ | EXEC would do"
        )
    if perm and not entry.readable:
        raise Denied(f"host memory at {position:#x} is not readable; mprotect it with PROT_READ first")


def allocate(size: SupportsIndex, page: int) -> int:
    """Zeroed, page-aligned memory; its address.

    Raises BadArgument for 0 or part of a page, NoResources when there is none.
    """
    length = aligned("size", size, page)
    if not length:
        raise BadArgument(f"size is 0; at least one page of {page} bytes would do")
    try:
        memory = _silicon.HostMemory(None, length)
    except (MemoryError, OSError) as failed:
        raise NoResources(f"the host does not give {length:#x} bytes of memory: {failed}") from None
    with _lock:
        _given[memory.address] = memory
    return memory.address


def deallocate(address: SupportsIndex, size: SupportsIndex) -> None:
    """Give back what `allocate` gave. A guest that has it mapped keeps it alive.

    Raises BadArgument for anything else.
    """
    start, length = integer("uva", address), integer("size", size)
    with _lock:
        memory = _given.get(start)
        if memory is None:
            raise BadArgument(f"hv_vm_allocate gave no memory at {start:#x}, or it was given back already")
        if len(memory) != length:
            raise BadArgument(
                f"the memory at {start:#x} has {len(memory):#x} bytes, so size {length:#x} is not all of it"
            )
        del _given[start]


def owner_of(address: int) -> _silicon.HostMemory | None:
    """The memory from `allocate` that an address lies in."""
    with _lock:
        for start, memory in _given.items():
            if start <= address < start + len(memory):
                return memory
    return None


@after_fork_in_child
def _free_the_lock() -> None:
    global _lock  # noqa: PLW0603 - another thread of the parent may have held it
    _lock = threading.Lock()
