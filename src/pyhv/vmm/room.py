"""Free places in guest memory, for what a loader needs beside the image: page tables, stack, tables of its own."""

from __future__ import annotations

from collections.abc import Iterable

from .plan import ImageError
from .sizes import show_size

LOW_START, LOW_END = 0x1_0000, 0x9_F000  # conventional memory, away from vectors and the extended BIOS area


class Room:
    """Hands out pieces of RAM (0 to `ram_bytes`) that nothing in `taken` uses."""

    def __init__(self, ram_bytes: int, taken: Iterable[tuple[int, int]]) -> None:
        self._ram = ram_bytes
        self._taken = sorted(taken)

    def allocate(self, size_bytes: int, align: int = 4096) -> int:
        """The GPA of a free piece: below 640 KiB if possible, else as high as possible. Raises ImageError."""
        at = self._lowest(size_bytes, align, LOW_START, min(LOW_END, self._ram))
        if at is None:
            at = self._highest(size_bytes, align, self._ram)
        return self._take(at, size_bytes)

    def allocate_high(self, size_bytes: int, limit: int, align: int = 4096) -> int:
        """The GPA of a free piece as high as possible that ends at `limit` or below. Raises ImageError."""
        return self._take(self._highest(size_bytes, align, min(self._ram, limit)), size_bytes)

    def _take(self, at: int | None, size_bytes: int) -> int:
        if at is None:
            raise ImageError(f"no {show_size(size_bytes)} of memory are free beside the image; give more with --memory")
        self._taken = sorted([*self._taken, (at, at + size_bytes)])
        return at

    def _lowest(self, size: int, align: int, start: int, end: int) -> int | None:
        at = start
        for first, last in self._taken:
            if at + size <= first:
                break
            at = max(at, -(-last // align) * align)
        return at if at + size <= end else None

    def _highest(self, size: int, align: int, end: int) -> int | None:
        for first, last in reversed(self._taken):
            at = (end - size) // align * align
            if at >= last:
                break
            end = min(end, first)
        at = (end - size) // align * align
        return at if at >= 0x10_0000 else None
