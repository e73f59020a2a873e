"""Where a guest's terminal ends: a sink for its bytes and a source of what is typed."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Protocol


class ByteSink(Protocol):
    """Takes what the guest prints."""

    def write(self, data: bytes) -> None: ...
    def flush(self) -> None: ...


class ByteSource(Protocol):
    """Gives what is typed, without waiting."""

    @property
    def ended(self) -> bool:
        """Nothing will ever come again."""

    def ready(self) -> bool: ...
    def read(self) -> int | None: ...
    def wait(self, seconds: float) -> bool:
        """Sleep until a byte is there (True) or the time is over; with nothing to wait for just sleeps."""


class Capture:
    """A sink that keeps the last `limit_bytes` of what was printed and passes everything on."""

    def __init__(self, onward: ByteSink | None = None, limit_bytes: int = 1 << 20) -> None:
        self._onward = onward
        self._limit = limit_bytes
        self._kept = bytearray()
        self.total_bytes = 0

    def write(self, data: bytes) -> None:
        self.total_bytes += len(data)
        self._kept += data
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]
        if self._onward:
            self._onward.write(data)

    def flush(self) -> None:
        if self._onward:
            self._onward.flush()

    @property
    def data(self) -> bytes:
        return bytes(self._kept[-self._limit :])

    @property
    def truncated(self) -> bool:
        return self.total_bytes > self._limit


class FdSink:
    """A file descriptor, written at line ends, when 4 KiB have gathered, and when somebody flushes. For any thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._gathered = bytearray()
        self._lock = RLock()  # also against a second writer, whose bytes come later

    def write(self, data: bytes) -> None:
        with self._lock:
            self._gathered += data
            if data.endswith(b"\n") or len(self._gathered) >= 4096:
                self.flush()

    def flush(self) -> None:
        with self._lock:
            while self._gathered:
                sent = os.write(self._fd, bytes(self._gathered))
                del self._gathered[:sent]


class NoInput:
    """A source that has ended."""

    ended = True

    def ready(self) -> bool:
        return False

    def read(self) -> int | None:
        return None

    def wait(self, seconds: float) -> bool:
        select.select([], [], [], seconds)
        return False


POLL_NS = 200_000  # a guest that polls in a loop makes one system call in this time, not one a poll


class FdSource:
    """A file descriptor (a terminal, a pipe, a file) read when it has something."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._next_poll_ns = 0
        self._typed: deque[int] = deque()
        self._closed = False

    @property
    def ended(self) -> bool:
        return self._closed and not self._typed

    def ready(self) -> bool:
        if self._typed:
            return True
        now = time.monotonic_ns()
        if now < self._next_poll_ns:
            return False
        self._next_poll_ns = now + POLL_NS
        return self.wait(0)

    def read(self) -> int | None:
        return self._typed.popleft() if self.ready() else None

    def wait(self, seconds: float) -> bool:
        if self._typed:
            return True
        if self._closed:
            select.select([], [], [], seconds)
            return False
        readable, _, _ = select.select([self._fd], [], [], seconds)
        if readable:
            data = os.read(self._fd, 4096)
            self._closed = not data
            self._typed.extend(data)
        return bool(self._typed)


class PumpedSource:
    """A file descriptor that one thread watches (`fds`) and reads (`pump`), for a guest that runs in others.

    `filter` sees everything that is typed and gives what the guest gets. `quit`: the user wants to end the run.
    """

    WAITING_MAX = 64 << 10  # what the guest has not taken; more stays where it is

    def __init__(self, fd: int | None, filter: Callable[[bytes], bytes] | None = None) -> None:
        self._fd, self._filter = fd, filter
        self._typed: deque[int] = deque()
        self._last_s = -1.0
        self.quit = False

    @property
    def fds(self) -> tuple[int, ...]:
        """What to watch: nothing once the input has ended, or while the guest does not take what is there."""
        return () if self._fd is None or len(self._typed) >= self.WAITING_MAX else (self._fd,)

    @property
    def fresh(self) -> bool:
        """Somebody typed in the last second, and wants to see what comes of it."""
        return time.monotonic() - self._last_s < 1.0

    def pump(self) -> None:
        """Read what is there: call it when the descriptor is readable."""
        if self._fd is None:
            return
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError:  # a terminal that went away
            data = b""
        if not data:
            self._fd = None
        self._last_s = time.monotonic()
        self._typed.extend(self._filter(data) if self._filter else data)

    def type(self, data: bytes) -> None:
        """Give the guest bytes that nobody typed."""
        self._typed.extend(data)

    @property
    def ended(self) -> bool:
        return self._fd is None and not self._typed

    def ready(self) -> bool:
        return bool(self._typed)

    def read(self) -> int | None:
        return self._typed.popleft() if self._typed else None

    def wait(self, seconds: float) -> bool:
        if not self._typed and select.select(self.fds, [], [], seconds)[0]:
            self.pump()
        return bool(self._typed)


class BytesSource(NoInput):
    """Bytes that are typed at once: for tests and for `hv run` without a terminal."""

    def __init__(self, data: bytes) -> None:
        self._typed = deque(data)

    @property
    def ended(self) -> bool:  # type: ignore[override]
        return not self._typed

    def ready(self) -> bool:
        return bool(self._typed)

    def read(self) -> int | None:
        return self._typed.popleft() if self._typed else None

    def wait(self, seconds: float) -> bool:
        return bool(self._typed) or super().wait(seconds)
