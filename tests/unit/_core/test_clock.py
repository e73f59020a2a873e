"""Moments of one clock on another."""

from __future__ import annotations

import time

from pyhv._core import clock


class SlowClock:
    """A VM's clock that is read, and then the thread has to wait."""

    tsc_hz = 1_000_000_000

    def __init__(self, pause_ns: int) -> None:
        self._start_ns, self._pause_ns = time.monotonic_ns(), pause_ns

    @property
    def now_ns(self) -> int:
        """Since it was made."""
        now = self.at(time.monotonic_ns())
        time.sleep(self._pause_ns / 1e9)
        return now

    def at(self, moment: int) -> int:
        """What this clock says at a moment of the other."""
        return moment - self._start_ns


def test_a_moment_never_comes_early() -> None:
    """It did, by as long as the thread was kept waiting between the two readings."""
    for pause_ns in (0, 2_000_000):
        slow = SlowClock(pause_ns)
        moment = clock.mach_absolute_time() + 50_000_000
        assert clock.of_mach(moment, slow) >= slow.at(moment)


def test_a_moment_that_has_passed_is_now() -> None:
    slow = SlowClock(0)
    before = slow.at(time.monotonic_ns())
    assert before <= clock.of_mach(1, slow) <= slow.at(time.monotonic_ns())
