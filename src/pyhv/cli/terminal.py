"""The guest's terminal is ours: stdin feeds it, stdout shows it; progress goes to stderr, and only to a terminal."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import time
import tty
from types import TracebackType
from typing import Any, NoReturn, Self

from pyhv.vmm.console import ByteSink, ByteSource, FdSink, FdSource, NoInput

STDIN, STDOUT = 0, 1
QUIET_SECONDS = 2.0  # progress appears when the guest has said nothing for so long
EVERY_SECONDS = 0.5
CLEAR_LINE = "\r\x1b[K"


class Terminal:
    """While open, a terminal on stdin gives each key at once, unechoed; Ctrl-C stays ours. SIGTERM restores it too."""

    def __init__(self) -> None:
        self._saved: list[Any] | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self.source: ByteSource = NoInput() if not is_open(STDIN) or in_background() else FdSource(STDIN)
        self.sink: ByteSink = FdSink(STDOUT)

    def __enter__(self) -> Self:
        if not isinstance(self.source, NoInput) and os.isatty(STDIN):
            self._saved = termios.tcgetattr(STDIN)
            tty.setcbreak(STDIN, termios.TCSADRAIN)
            changed = termios.tcgetattr(STDIN)
            changed[0] &= ~termios.ICRNL  # Enter is CR, as on a serial line
            termios.tcsetattr(STDIN, termios.TCSADRAIN, changed)
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._saved is not None:
            termios.tcsetattr(STDIN, termios.TCSADRAIN, self._saved)


def _end(number: int, frame: object) -> NoReturn:
    """A signal that ends the process ends it the long way, so that the terminal is put in order."""
    raise SystemExit(128 + number)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def in_background() -> bool:
    """Whether the terminal is ours and belongs to another job now: reading it would stop us."""
    try:
        return os.isatty(STDIN) and os.tcgetpgrp(STDIN) != os.getpgrp()
    except OSError:  # a terminal, but not the one that controls this session
        return False


class Progress:
    """A sink before the real one; between the guest's lines it shows how far the run is."""

    def __init__(self, onward: ByteSink) -> None:
        self._onward = onward
        self._shows = sys.stderr is not None and sys.stderr.isatty()
        self._shown = False
        self._at_line_start = True
        self._last = time.monotonic()
        self._next = 0.0

    def write(self, data: bytes) -> None:
        self.clear()
        self._last = time.monotonic()
        self._at_line_start = data.endswith(b"\n")
        self._onward.write(data)

    def flush(self) -> None:
        self._onward.flush()

    def update(self, instructions: int | None, seconds: float) -> None:
        """Called now and then during the run."""
        now = time.monotonic()
        if self._shows and self._at_line_start and now - self._last > QUIET_SECONDS and now >= self._next:
            self._shown, self._next = True, now + EVERY_SECONDS
            counted = "" if instructions is None else f", {instructions / 1e6:,.0f} million instructions"
            text = f"running: {seconds:.0f} s{counted}"
            print(f"{CLEAR_LINE}{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            self._shown = False
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)
