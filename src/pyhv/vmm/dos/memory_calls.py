"""INT 21h, memory: 48h, 49h, 4Ah. Blocks are counted in paragraphs of 16 bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..bios.guest16 import Guest16
from .files import DosCode, DosError

if TYPE_CHECKING:
    from .kernel import DosKernel


def _gaps(dos: DosKernel) -> list[tuple[int, int]]:
    """(start, paragraphs) of the free memory after the program's prefix, lowest first."""
    gaps, at = [], dos.psp
    for start, end in sorted(dos.blocks.items()):
        if start > at:
            gaps.append((at, start - at))
        at = max(at, end)
    if at < dos.memory_end:
        gaps.append((at, dos.memory_end - at))
    return gaps


def allocate(dos: DosKernel, guest: Guest16) -> None:
    """BX paragraphs; the first gap that holds them. Too many: BX is the largest that would do."""
    wanted = guest.bx
    for start, size in _gaps(dos):
        if size >= wanted > 0:
            dos.blocks[start] = start + wanted
            guest.ax, guest.carry = start, False
            return
    guest.bx = max((size for _, size in _gaps(dos)), default=0)
    raise DosError(DosCode.NOT_ENOUGH_MEMORY)


def free(dos: DosKernel, guest: Guest16) -> None:
    """The block at ES."""
    if guest.es not in dos.blocks:
        raise DosError(DosCode.INVALID_BLOCK)
    del dos.blocks[guest.es]
    guest.carry = False


def resize(dos: DosKernel, guest: Guest16) -> None:
    """The block at ES to BX paragraphs; where that is too much, BX is what would do."""
    start = guest.es
    if start not in dos.blocks:
        raise DosError(DosCode.INVALID_BLOCK)
    limit = min((other for other in dos.blocks if other > start), default=dos.memory_end)
    if start + guest.bx > limit:
        guest.bx = limit - start
        raise DosError(DosCode.NOT_ENOUGH_MEMORY)
    dos.blocks[start] = start + guest.bx
    guest.carry = False
