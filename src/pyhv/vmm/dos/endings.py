"""How a DOS program ends."""

from __future__ import annotations


class DosProgramEnded(Exception):
    """The program ended with `code`, 0 to 255."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the DOS program ended with code {code}")
        self.code = code
