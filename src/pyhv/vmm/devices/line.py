"""An interrupt line between a device and a controller."""

from __future__ import annotations

from collections.abc import Callable


class Line:
    """A wire with a level; `listener` hears changes only."""

    __slots__ = ("_level", "_listener")

    def __init__(self, listener: Callable[[bool], None] | None = None) -> None:
        self._level = False
        self._listener = listener

    @property
    def level(self) -> bool:
        return self._level

    def set(self, level: bool) -> None:
        if level != self._level:
            self._level = level
            if self._listener:
                self._listener(level)

    def pulse(self) -> None:
        """Down and up: one edge, whatever the level was."""
        self.set(False)
        self.set(True)
