"""What stands in the place of an engine's object once it is closed: every use says so."""

from __future__ import annotations

from typing import Any, NoReturn

from ..errors import Closed


class ClosedEngine:
    """Any attribute of it raises Closed with the reason."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def fail(self, *_: Any, **__: Any) -> NoReturn:
        """Raise Closed, whatever the arguments."""
        raise Closed(self.reason)

    def __getattr__(self, name: str) -> NoReturn:
        raise Closed(self.reason)
