"""Promises that an engine does not keep yet, and why. One that is kept after all makes its test fail: take it out."""

from __future__ import annotations

from typing import Final

NOT_YET: Final[dict[tuple[str, str], str]] = {}
"""(engine, name of the promise) → what is missing."""
