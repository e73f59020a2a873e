"""Why answering an interrupt did not simply return to the program."""

from __future__ import annotations


class DosProgramEnded(Exception):
    """The program ended with `code`, 0 to 255."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the DOS program ended with code {code}")
        self.code = code


class DosUnknownCall(Exception):
    """The program used an interrupt or a function that is not answered here."""


class WouldBlock(Exception):
    """The program waits for input and none is there; ask again when there is. Nothing has changed."""
