"""Clocks of the framework's functions, told by the VM's own."""

from __future__ import annotations

import time

from ..engines.base import EngineClock

_NS = 1_000_000_000


def mach_absolute_time() -> int:
    """The clock of deadlines: 1 ns a tick, CLOCK_MONOTONIC. Apple: mach_absolute_time."""
    return time.monotonic_ns()


def of_mach(moment: int, clock: EngineClock) -> int:
    """A moment of `mach_absolute_time` on a VM's clock; one that has passed is the clock's now.

    The VM's clock is read last: a thread that has to wait in between is late, and no deadline comes before its time.
    """
    left = max(0, moment - mach_absolute_time())
    return clock.now_ns + left


def tsc(clock: EngineClock) -> int:
    """A VM's time in ticks of the guests' TSC, before any offset."""
    return clock.now_ns * clock.tsc_hz // _NS
