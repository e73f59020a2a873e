"""Numbers as people write them: `64M`, `0x7C00`, `1GiB`."""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"(0x[0-9a-f_]+|[0-9][0-9_]*)\s*([kmg]?)(i?b)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """A size in bytes: a number, decimal or 0x…, with K, M or G (powers of 1024). Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a size; write bytes or K, M, G, such as 64M or 0x100000")
    return int(match[1], 0 if match[1].lower().startswith("0x") else 10) * _UNITS[match[2].upper()]


def parse_address(text: str) -> int:
    """An address: decimal, 0x… or …h, as assemblers write it. Raises ValueError."""
    clean = text.strip().lower().replace("_", "")
    try:
        if clean.endswith("h") and not clean.startswith("0x"):
            return int(clean[:-1], 16)
        return int(clean, 16 if clean.startswith("0x") else 10)
    except ValueError:
        raise ValueError(f"{text!r} is not an address; write it such as 0x7C00, 7C00h or 31744") from None


def show_size(size_bytes: int) -> str:
    """`67108864` as `64 MiB`."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size_bytes and size_bytes % unit == 0:
            return f"{size_bytes // unit} {name}"
    return f"{size_bytes} bytes"
