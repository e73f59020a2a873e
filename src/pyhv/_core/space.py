"""One guest-physical address space: what lies where, with which rights, and whose memory it is.

The engine knows pages; this knows regions. A region keeps the owner of its host memory alive until its last page is
unmapped, so no guest can reach memory that is gone.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Protocol, SupportsIndex

from ..engines.base import EngineSpace
from ..errors import BadArgument, Fault, HvError, NoResources
from .checks import integer, page_range, permission
from .dirty import DirtyLogs
from .perm import Perm


class HostOwner(Protocol):
    """Whose memory it is. Holding the owner keeps the memory alive, or somebody promised to."""

    def require(self, host: int, size: int, perm: Perm) -> None:
        """Raise BadArgument or Denied unless the process itself may do there what `perm` would give the guest."""

    def released(self) -> None:
        """The guest sees none of it any more."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """GPAs `start` to `end` backed from HVA `host` on. `owner` keeps the host memory alive."""

    start: int
    end: int
    host: int
    perm: Perm
    owner: HostOwner

    def part(self, start: int, end: int, perm: Perm | None = None) -> Region:
        """The same region, cut down to `start` … `end`."""
        return Region(start, end, self.host + start - self.start, self.perm if perm is None else perm, self.owner)


class AddressSpace:
    """The regions of one space, in order. Every method may be called from any thread."""

    def __init__(self, engine: EngineSpace, page_bytes: int, gpa_bits: int) -> None:
        self._engine = engine
        self._page, self._gpa_bits = page_bytes, gpa_bits
        self._regions: list[Region] = []
        self._starts: list[int] = []  # of the regions, in the same order: what is searched
        self._lock = threading.RLock()
        self.logs = DirtyLogs(engine.dirty_log, page_bytes)

    @property
    def page_bytes(self) -> int:
        """What mappings are multiples of."""
        return self._page

    def check(self, at: SupportsIndex, size: SupportsIndex) -> tuple[int, int]:
        """A range as (GPA, bytes). Raises BadArgument where it is not whole pages inside the address space."""
        return page_range(at, size, page=self._page, gpa_bits=self._gpa_bits)

    def map(self, at: SupportsIndex, host: int, size: SupportsIndex, perm: SupportsIndex, owner: HostOwner) -> None:
        """Back `size` bytes from GPA `at` on with host memory. Raises BadArgument, HvError where something is there."""
        start, length = self.check(at, size)
        rights = permission(perm)
        if host % self._page:
            raise BadArgument(
                f"host address {host:#x} is not a multiple of the page size {self._page};"
                " page-aligned memory comes from map(at=, size=), mmap.mmap(-1, size) or hv_vm_allocate"
            )
        owner.require(host, length, rights)
        with self._lock:
            for region in self._within(start, start + length):
                raise HvError(
                    f"gpa {start:#x} to {start + length:#x} overlaps the mapping from {region.start:#x} to"
                    f" {region.end:#x}; unmap that first"
                )
            try:
                self._engine.map(start, host, length, int(rights))
            except MemoryError:
                raise NoResources(f"the host has no memory for the page table of {length:#x} bytes") from None
            position = bisect_right(self._starts, start)
            self._put(position, position, [Region(start, start + length, host, rights, owner)])

    def unmap(self, at: SupportsIndex, size: SupportsIndex, owner: HostOwner | None = None) -> None:
        """Take away what is mapped in the range; holes are passed over. With `owner`, only what belongs to it.

        Returns when no vCPU can touch the old pages any more. Raises HvError where nothing in the range is mapped.
        """
        start, length = self.check(at, size)
        with self._lock:
            found = [region for region in self._within(start, start + length) if owner is None or region.owner is owner]
            if not found:
                raise HvError(
                    f"gpa {start:#x} to {start + length:#x}: nothing is mapped there, so there is nothing to unmap"
                )
            for region in found:
                first, last = max(region.start, start), min(region.end, start + length)
                self._engine.unmap(first, last - first)
                self._replace(region, first, last, None)
            for gone in {id(region.owner): region.owner for region in found}.values():
                if not any(region.owner is gone for region in self._regions):
                    gone.released()

    def unmap_owner(self, at: int, size: int, owner: HostOwner) -> None:
        """Take away what is left of one owner's memory in the range; nothing left is fine."""
        with self._lock:
            if any(region.owner is owner for region in self._within(at, at + size)):
                self.unmap(at, size, owner)

    def protect(
        self, at: SupportsIndex, size: SupportsIndex, perm: SupportsIndex, owner: HostOwner | None = None
    ) -> None:
        """Give the guest other rights on a mapped range.

        Raises HvError where a page of it is not mapped; then nothing changes. Denied when WRITE is asked over host
        memory that is read-only.
        """
        start, length = self.check(at, size)
        end, rights = start + length, permission(perm)
        with self._lock:
            found = self._within(start, end)
            self._require_whole(start, end, found, owner)
            parts = [(region, region.start if region.start > start else start) for region in found]
            for region, first in parts:
                region.owner.require(
                    region.host + first - region.start, (region.end if region.end < end else end) - first, rights
                )
            for region, first in parts:
                last = region.end if region.end < end else end
                self._engine.protect(first, last - first, int(rights))
                if region.perm is not rights:
                    self._replace(region, first, last, rights)

    def _require_whole(self, start: int, end: int, found: list[Region], owner: HostOwner | None) -> None:
        position = start
        for region in found:
            if region.start > position or (owner is not None and region.owner is not owner):
                break
            position = region.end
        if position < end:
            raise HvError(f"gpa {start:#x} to {end:#x}: {position:#x} is not mapped, so it has no rights to change")

    def read(self, gpa: SupportsIndex, size: SupportsIndex) -> bytes:
        """`size` bytes from GPA `gpa` on. Raises Fault where a page is not mapped."""
        start, length = integer("gpa", gpa), integer("size", size)
        with self._lock:
            self._require_backed(start, length)
            return self._engine.read(start, length)

    def write(self, gpa: SupportsIndex, data: bytes) -> None:
        """Put bytes at GPA `gpa`, whatever the guest may do there.

        Raises Fault where a page is not mapped, and writes nothing.
        """
        start, length = integer("gpa", gpa), len(data)
        with self._lock:
            for region in self._require_backed(start, length):
                part = region.part(max(region.start, start), min(region.end, start + length))
                part.owner.require(part.host, part.end - part.start, Perm.WRITE)
            self._engine.write(start, data)

    def mark_written(self, gpa: SupportsIndex, size_bytes: SupportsIndex) -> None:
        """Count a write in every dirty log of its pages. Raises BadArgument beyond the address space."""
        first = integer("gpa", gpa, high=(1 << self._gpa_bits) - 1)
        self.logs.mark(first, integer("size_bytes", size_bytes, low=1, high=(1 << self._gpa_bits) - first))

    def close(self) -> None:
        """Unmap everything and let go of the owners."""
        self.logs.close()
        with self._lock:
            for region in self._regions:
                self._engine.unmap(region.start, region.end - region.start)
            owners = {id(region.owner): region.owner for region in self._regions}
            self._put(0, len(self._regions), [])
            for owner in owners.values():
                owner.released()

    def abandon(self) -> list[Region]:
        """Forget everything without touching the engine, and give back what was here. For the child of a fork."""
        self._lock = threading.RLock()
        self.logs.abandon()
        left, self._regions, self._starts = self._regions, [], []
        return left

    def regions(self) -> tuple[Region, ...]:
        """What is mapped now, lowest first."""
        with self._lock:
            return tuple(self._regions)

    def _require_backed(self, start: int, length: int) -> list[Region]:
        """The regions behind a range of bytes. Raises Fault at the first byte without one."""
        found = self._within(start, start + length)
        position = start
        for region in found:
            if region.start > position:
                break
            position = region.end
        if position < start + length:
            raise Fault(f"gpa {position:#x} is not mapped (of {length} bytes at {start:#x})")
        return found

    def _within(self, start: int, end: int) -> list[Region]:
        """The regions that share a byte with `start` … `end`, lowest first. Whoever asks holds the lock."""
        first = bisect_right(self._starts, start)
        if first and self._regions[first - 1].end > start:
            first -= 1
        return self._regions[first : bisect_left(self._starts, end, first)]

    def _put(self, first: int, last: int, regions: list[Region]) -> None:
        """Let these be at the places `first` … `last`."""
        self._regions[first:last] = regions
        self._starts[first:last] = [region.start for region in regions]

    def _replace(self, region: Region, first: int, last: int, perm: Perm | None) -> None:
        """Cut `first` … `last` out of a region; with `perm` it comes back with these rights."""
        pieces = []
        if region.start < first:
            pieces.append(region.part(region.start, first))
        if perm is not None:
            pieces.append(region.part(first, last, perm))
        if last < region.end:
            pieces.append(region.part(last, region.end))
        position = bisect_left(self._starts, region.start)
        self._put(position, position + 1, pieces)
