"""Why answering an interrupt did not simply return to the program."""

from __future__ import annotations


class UnknownCall(Exception):
    """The program used an interrupt or a function that is not answered here."""


class WouldBlock(Exception):
    """The program waits for input and none is there; ask again when there is. Nothing has changed."""
