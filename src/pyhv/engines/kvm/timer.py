"""What ends a KVM_RUN from outside: one real-time signal, blocked in the thread and let through only inside KVM_RUN.

Nothing handles it: KVM_RUN comes back with EINTR, the engine takes the signal with sigtimedwait. So none is lost, and
it works in every thread. Linux: KVM API, "KVM_SET_SIGNAL_MASK"; timer_create(2), SIGEV_THREAD_ID.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import threading
import weakref
from fcntl import ioctl
from typing import Final

from ...errors import NoResources
from . import abi

KICK: Final = signal.SIGRTMAX - 3
SLICE_NS: Final = 20_000_000
"""How long a run or a wait on the main thread may keep Ctrl-C waiting."""
_KICK_SET: Final = {KICK}
_SIGEV_THREAD_ID: Final = 4
_CLOCK_MONOTONIC: Final = 1
_NS: Final = 1_000_000_000
_libc: Final = ctypes.CDLL(None, use_errno=True)


def let_through(vcpu_fd: int) -> None:
    """Block the signal in this thread, and let it through while this thread is in KVM_RUN of that vCPU."""
    others = signal.pthread_sigmask(signal.SIG_BLOCK, _KICK_SET) - _KICK_SET
    mask = sum(1 << number - 1 for number in others)
    ioctl(vcpu_fd, abi.Ioctl.SET_SIGNAL_MASK, struct.pack("<IQ", 8, mask))


def take() -> None:
    """Take every such signal that waits for this thread."""
    while signal.sigtimedwait(_KICK_SET, 0):
        pass


class Thread:
    """A thread that runs vCPUs, as those know it who want to stop it. It may have ended."""

    __slots__ = ("_guard", "_number", "is_main")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """It is the calling thread: also that of a forked child, which goes on in it."""
        self._number = threading.get_ident()
        self._guard = threading.RLock()  # a signal handler may kick too
        self.is_main = self._number == threading.main_thread().ident

    def signal(self) -> None:
        """Send it the signal, if it lives."""
        with self._guard:
            if self._number:
                signal.pthread_kill(self._number, KICK)

    def has_ended(self) -> None:
        """Nobody signals it any more."""
        with self._guard:
            self._number = 0


class _Here(threading.local):
    """Dies with its thread, and says so."""

    def __init__(self) -> None:
        self.thread = thread = Thread()
        self._end = _End(thread)


class _End:
    def __init__(self, thread: Thread) -> None:
        self._thread = thread

    def __del__(self) -> None:
        self._thread.has_ended()


HERE: Final = _Here()
"""`HERE.thread` is the calling thread."""


def _in_child() -> None:
    """It is the main thread now, and another thread of the parent may have held its guard."""
    HERE.thread.begin()


os.register_at_fork(after_in_child=_in_child)


class Alarm:
    """Sends the signal to the thread that made it, when its time has come."""

    def __init__(self) -> None:
        event = struct.pack("<QiiI", 0, KICK, _SIGEV_THREAD_ID, threading.get_native_id()).ljust(64, b"\0")
        timer = ctypes.c_void_p()
        if _libc.timer_create(_CLOCK_MONOTONIC, event, ctypes.byref(timer)):
            failed = ctypes.get_errno()
            raise NoResources(f"the host gives no timer for deadlines: {os.strerror(failed)}")
        self._timer = timer
        self.close = weakref.finalize(self, _delete, timer, os.getpid())
        self.close.atexit = False

    def once(self, after_ns: int) -> None:
        """Go off `after_ns` from now on, instead of whenever it was set to."""
        self._set(0, max(1, after_ns))

    def every(self, period_ns: int) -> None:
        """Go off again and again; 0: never. While its signal waits, the kernel lets it rest."""
        self._set(period_ns, period_ns)

    def _set(self, period: int, after: int) -> None:
        times = struct.pack("<4q", period // _NS, period % _NS, after // _NS, after % _NS)
        _libc.timer_settime(self._timer, 0, times, None)


def _delete(timer: ctypes.c_void_p, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has no timers of its parent
        _libc.timer_delete(timer)
