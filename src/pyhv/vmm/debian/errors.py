"""What can go wrong between Debian's archive and a guest that boots."""

from __future__ import annotations


class DebianError(Exception):
    """A package cannot be fetched, unpacked or used; the message says what was tried and what would do."""
