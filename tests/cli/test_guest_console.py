"""The console of `hv boot` in a real pseudo-terminal: raw while it runs, our keys, and put back whatever ends it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

# echoes what the guest would get, in hexadecimal, until our keys or a "!" end it
PROGRAM = """
import select, sys
from pyhv.cli.guest_console import GuestConsole
with GuestConsole() as console:
    source, sink = console.source, console.sink
    sink.write(b"up\\n"); sink.flush()
    while not source.quit:
        if not source.fds and not source.ready():
            sink.write(b"ended\\n"); sink.flush(); break
        if source.wait(0.05):
            data = bytes(iter(source.read, None))
            sink.write(data.hex().encode() + b"\\n"); sink.flush()
            if b"!" in data:
                raise RuntimeError("boom")
"""
CTRL_A, CTRL_C = b"\x01", b"\x03"


class Session:
    """The program with a terminal of its own."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
        )  # fmt: skip
        self.seen = b""

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def see(self, text: bytes) -> None:
        end = time.monotonic() + 20
        while text not in self.seen:
            assert time.monotonic() < end, (text, self.seen)
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096)

    @property
    def flags(self) -> int:
        return int(termios.tcgetattr(self.slave)[3])

    def end(self) -> int:
        code = self.process.wait(20)
        assert termios.tcgetattr(self.slave) == self.before
        return code


@pytest.fixture
def session() -> Iterator[Session]:
    found = Session()
    found.see(b"up\r\n")
    yield found
    found.process.kill()
    found.process.wait()
    os.close(found.master)
    os.close(found.slave)


def test_keys_are_the_guest_s_one_by_one_ctrl_c_too(session: Session) -> None:
    assert not session.flags & (termios.ICANON | termios.ECHO | termios.ISIG)
    session.type(b"a" + CTRL_C + b"\r")
    session.see(b"61030d")
    session.type(CTRL_A + b"x")
    assert session.end() == 0


def test_ctrl_a_twice_is_one_for_the_guest(session: Session) -> None:
    session.type(CTRL_A + CTRL_A + b"z")
    session.see(b"017a")
    session.type(CTRL_A)
    session.type(b"X")
    assert session.end() == 0


def test_ctrl_a_h_helps(session: Session) -> None:
    session.type(CTRL_A + b"h")
    session.see(b"Ctrl-A X")
    session.type(CTRL_A + b"x")
    session.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_puts_the_terminal_back(session: Session, number: signal.Signals) -> None:
    session.process.send_signal(number)
    assert session.end() == 128 + number


def test_an_error_puts_the_terminal_back(session: Session) -> None:
    session.type(b"!")
    assert session.end() == 1
    session.see(b"boom")


def test_a_stopped_program_leaves_the_terminal_in_order(session: Session) -> None:
    session.process.send_signal(signal.SIGTSTP)
    os.waitid(os.P_PID, session.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert termios.tcgetattr(session.slave) == session.before
    session.process.send_signal(signal.SIGCONT)
    session.type(b"b")
    session.see(b"62")
    assert not session.flags & termios.ICANON
    session.type(CTRL_A + b"x")
    session.end()


def test_a_pipe_is_taken_as_it_is_and_may_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=b"\x01x\x03", capture_output=True, check=True, timeout=30
    )
    assert done.stdout == b"up\n017803\nended\n"
