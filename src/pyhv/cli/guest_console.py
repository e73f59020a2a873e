"""The terminal as the console of a whole system: every key is the guest's, and Ctrl-A is the way back to us."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from pyhv.vmm.console import ByteSink, FdSink, PumpedSource

from .terminal import STDIN, STDOUT, in_background, is_open

PREFIX = 0x01  # Ctrl-A
HELP = """
Ctrl-A X       end the machine
Ctrl-A H       this help
Ctrl-A Ctrl-A  send one Ctrl-A to the guest
All other keys, Ctrl-C among them, are the guest's.
"""


class Escapes:
    """Finds our keys in what is typed. `quit` becomes True with Ctrl-A X."""

    def __init__(self) -> None:
        self.quit = False
        self._after_prefix = False

    def filter(self, data: bytes) -> bytes:
        """What is left for the guest."""
        kept = bytearray()
        for byte in data:
            if self._after_prefix:
                self._after_prefix = False
                self._command(byte, kept)
            elif byte == PREFIX:
                self._after_prefix = True
            else:
                kept.append(byte)
        return bytes(kept)

    def _command(self, byte: int, kept: bytearray) -> None:
        if byte == PREFIX:
            kept.append(PREFIX)
        elif byte in b"xX":
            self.quit = True
        else:
            print(HELP, file=sys.stderr, flush=True)


class GuestConsole:
    """While open, a terminal on stdin is raw; whatever ends the run puts it back, a signal too.

    A pipe or a file is read as it is, without our keys.
    """

    def __init__(self) -> None:
        self._escapes = Escapes()
        self._saved: list[Any] | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._is_terminal = is_open(STDIN) and os.isatty(STDIN)
        usable = is_open(STDIN) and not in_background()
        self.source = _Source(STDIN if usable else None, self._escapes if self._is_terminal else None)
        self.sink: ByteSink = FdSink(STDOUT)

    def __enter__(self) -> Self:
        if self._is_terminal and self.source.fds:
            self._saved = termios.tcgetattr(STDIN)
            self._set_raw()
        if threading.current_thread() is threading.main_thread():
            handlers = {signal.SIGTERM: _end, signal.SIGHUP: _end, signal.SIGTSTP: self._pause}
            self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._restore()

    def _set_raw(self) -> None:
        """Keys come one by one, unechoed, and none is a signal. Output stays as it is: our own lines go there too."""
        changed = termios.tcgetattr(STDIN)
        changed[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP | termios.BRKINT)
        changed[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        termios.tcsetattr(STDIN, termios.TCSADRAIN, changed)

    def _restore(self) -> None:
        if self._saved is not None:
            termios.tcsetattr(STDIN, termios.TCSADRAIN, self._saved)

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Somebody stops the process: the shell gets its terminal in order, and we take it again afterwards."""
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._saved is not None:
            self._set_raw()


class _Source(PumpedSource):
    def __init__(self, fd: int | None, escapes: Escapes | None) -> None:
        super().__init__(fd, escapes.filter if escapes else None)
        self._escapes = escapes

    def pump(self) -> None:
        super().pump()
        if self._escapes and self._escapes.quit:
            self.quit = True


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """A signal that ends the process ends it the long way, so that the terminal is put in order."""
    raise SystemExit(128 + number)
