"""Option values as people write them, with errors that say what would do."""

from __future__ import annotations

import typer

from pyhv.vmm.sizes import parse_address, parse_size, show_size

MIN_MEMORY, MAX_MEMORY = 1 << 20, 1 << 40
PAGE = 4096
MAX_SECONDS = 1e9


def memory_size(text: str | int) -> int:
    """RAM in bytes; the default comes as a number."""
    if isinstance(text, int):
        return text
    try:
        value = parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not MIN_MEMORY <= value <= MAX_MEMORY or value % PAGE:
        raise typer.BadParameter(f"{show_size(value)}: a machine has 1 MiB to 1 TiB, in whole pages of {PAGE} bytes")
    return value


def address(text: str) -> int:
    """A guest address."""
    try:
        value = parse_address(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not 0 <= value < 1 << 64:
        raise typer.BadParameter(f"{text}: addresses have at most 64 bits")
    return value


def seconds(text: str) -> float:
    """A time span."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 < value <= MAX_SECONDS:
        raise typer.BadParameter(f"{text!r} is not a time; write seconds, such as 10 or 0.5")
    return value
