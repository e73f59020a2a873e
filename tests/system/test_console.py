"""Debian's shell in a real pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import termios
import time

import pytest

from .conftest import BOOT_SECONDS, COMMAND_SECONDS, PROMPT, Guest

pytestmark = pytest.mark.slow


def see(master: int, text: str, seconds: float) -> str:
    """What is shown up to `text`."""
    end, seen = time.monotonic() + seconds, b""
    while text.encode() not in seen:
        assert time.monotonic() < end, seen[-1000:]
        if select.select([master], [], [], 0.2)[0]:
            seen += os.read(master, 65536)
    return seen.decode("utf-8", "replace")


def test_a_session_with_ctrl_c_for_the_guest_and_ctrl_a_x_for_us() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    try:
        with Guest("--append", "quiet", terminal=slave) as guest:
            see(master, PROMPT, BOOT_SECONDS)
            assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
            os.write(master, b"echo $((6 * 7))a\r")
            see(master, "42a\r", COMMAND_SECONDS)
            os.write(master, b"sleep 1000\r")
            see(master, "sleep 1000\r", COMMAND_SECONDS)
            time.sleep(1)
            os.write(master, b"\x03")
            see(master, PROMPT, COMMAND_SECONDS)
            os.write(master, b"\x01x")
            assert guest.process.wait(COMMAND_SECONDS) == 130
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)
