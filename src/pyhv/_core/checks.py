"""Checks of arguments. Each says what was given and what would do, and comes before anything changes."""

from __future__ import annotations

from operator import index
from typing import Final, SupportsIndex

from ..errors import BadArgument
from .perm import Perm

U64: Final = (1 << 64) - 1
_PERMS: Final = tuple(Perm(number) for number in range(int(Perm.RWX) + 1))


def integer(name: str, value: SupportsIndex, *, low: int = 0, high: int = U64) -> int:
    """`value` as an int from `low` to `high`. Raises BadArgument beyond, TypeError for what is not an integer."""
    if type(value) is int and low <= value <= high:
        return value  # what nearly every call gives
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} takes an integer, not {type(value).__name__}") from None
    if not low <= number <= high:
        raise BadArgument(f"{name} takes {low} to {high:#x}, not {_shown(number)}")
    return number


def _shown(number: int) -> str:
    return f"{number:#x}" if number >= 0 else str(number)


def aligned(name: str, value: SupportsIndex, page: int) -> int:
    """`value` as an int that is a multiple of `page` bytes. Raises BadArgument, with the neighbours that would do."""
    number = integer(name, value)
    if number % page:
        below = number - number % page
        good = f"{below:#x} or {below + page:#x}" if below or name != "size" else f"{page:#x}"
        raise BadArgument(f"{name} {number:#x} is not a multiple of the page size {page}; {good} would do")
    return number


def page_range(
    at: SupportsIndex, size: SupportsIndex, *, page: int, gpa_bits: int, name: str = "gpa"
) -> tuple[int, int]:
    """A guest-physical range in whole pages, not empty, inside the address space of 2**`gpa_bits` bytes."""
    if type(at) is int and type(size) is int and at >= 0 and size > 0 and not (at | size) % page:
        start, length = at, size
    else:
        start, length = aligned(name, at, page), aligned("size", size, page)
    if length == 0:
        raise BadArgument(f"size is 0; a range has at least one page of {page} bytes")
    if start + length > 1 << gpa_bits:
        raise BadArgument(
            f"{name} {start:#x} + size {length:#x} ends at {start + length:#x}, beyond the guest-physical address"
            f" space, which ends at {1 << gpa_bits:#x} ({gpa_bits} bits)"
        )
    return start, length


def permission(value: SupportsIndex) -> Perm:
    """`value` as a Perm. Raises BadArgument for bits that have no meaning."""
    number = index(value)
    if not 0 <= number < len(_PERMS):
        raise BadArgument(f"perm {_shown(number)} has bits beyond READ 1, WRITE 2 and EXEC 4")
    return _PERMS[number]
