"""What is measured, as a value, and whether a promise is kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `target` is what is promised (None: nothing), `met` whether it is kept."""

    name: str
    value: float
    unit: str
    target: str | None = None
    met: bool | None = None


def at_least(name: str, value: float, unit: str, target: float | None = None) -> Figure:
    """A rate."""
    if target is None:
        return Figure(name, value, unit)
    return Figure(name, value, unit, f">= {target:,.0f}", value >= target)


def at_most(name: str, value: float, unit: str, target: float) -> Figure:
    """A cost."""
    return Figure(name, value, unit, f"<= {target:,.4g}", value <= target)
