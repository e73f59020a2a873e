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


def send(thread: int) -> None:
    """Send it to a thread that lives."""
    signal.pthread_kill(thread, KICK)


class Alarm:
    """Sends the signal to the thread that made it, once, when its time has come."""

    def __init__(self) -> None:
        event = struct.pack("<QiiI", 0, KICK, _SIGEV_THREAD_ID, threading.get_native_id()).ljust(64, b"\0")
        timer = ctypes.c_void_p()
        if _libc.timer_create(_CLOCK_MONOTONIC, event, ctypes.byref(timer)):
            failed = ctypes.get_errno()
            raise NoResources(f"the host gives no timer for deadlines: {os.strerror(failed)}")
        self._timer = timer
        self.close = weakref.finalize(self, _delete, timer, os.getpid())
        self.close.atexit = False

    def set(self, after_ns: int) -> None:
        """Go off `after_ns` from now on, instead of whenever it was set to."""
        after = max(1, after_ns)
        _libc.timer_settime(self._timer, 0, struct.pack("<4q", 0, 0, after // _NS, after % _NS), None)


def _delete(timer: ctypes.c_void_p, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has no timers of its parent
        _libc.timer_delete(timer)
