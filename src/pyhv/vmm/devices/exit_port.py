"""A port that ends the run: QEMU's isa-debug-exit, by its documented behaviour."""

from __future__ import annotations

from collections.abc import Callable


class ExitPort:
    """A write of 1, 2 or 4 bytes tells `on_exit` the value; reading gives 0."""

    width_bytes = 4

    def __init__(self, on_exit: Callable[[int], None]) -> None:
        self._on_exit = on_exit

    def read(self, offset: int, size_bytes: int) -> int:
        return 0

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        self._on_exit(value)
