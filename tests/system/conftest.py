"""Whole systems: Debian's kernel, started as people start it. `make test-system` runs these; they take minutes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import pytest

from pyhv.vmm.debian import DebianError, debian_guest

PROMPT = "pyhv# "
BOOT_SECONDS, COMMAND_SECONDS = 300, 60


class Guest:
    """`hv boot --kernel debian` with pipes, or a terminal, as its console."""

    def __init__(self, *options: str, terminal: int | None = None) -> None:
        command = [sys.executable, "-m", "pyhv.cli", "boot", "--kernel", "debian", "--engine", "soft", *options]
        ends = terminal if terminal is not None else subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=ends, stdout=ends, stderr=terminal, start_new_session=terminal is not None
        )
        self.output = ""
        self._read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def expect(self, text: str, seconds: float = COMMAND_SECONDS) -> str:
        """What is printed up to `text`."""
        end = time.monotonic() + seconds
        assert self.process.stdout
        while text not in self.output[self._read :]:
            assert time.monotonic() < end, f"no {text!r} after {seconds} s; the last lines:\n{self.output[-2000:]}"
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, f"the machine ended:\n{self.output[-2000:]}"
                self.output += data.decode("utf-8", "replace").replace("\r", "")
        at = self.output.index(text, self._read)
        before, self._read = self.output[self._read : at], at + len(text)
        return before

    def boot(self) -> str:
        """Wait for the shell; the kernel's messages."""
        return self.expect(PROMPT, BOOT_SECONDS)

    def run(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """What a command prints."""
        self.type(command + "\n")
        return self.expect(PROMPT, seconds).partition("\n")[2]

    def type(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def end(self, seconds: float = COMMAND_SECONDS) -> int:
        """The exit code; the rest of the output is read."""
        assert self.process.stdout
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                self.output += os.read(self.process.stdout.fileno(), 65536).decode("utf-8", "replace")
        return self.process.wait(1)


@pytest.fixture(scope="session", autouse=True)
def fetched() -> None:
    """Debian's packages are there; without network and cache there is nothing to test."""
    try:
        debian_guest()
    except DebianError as error:
        pytest.skip(str(error))


@pytest.fixture
def boot() -> Iterator[Callable[..., Guest]]:
    """`boot("--cpus", "2")`: a guest at its shell."""
    guests: list[Guest] = []

    def start(*options: str) -> Guest:
        guest = Guest(*options)
        guests.append(guest)
        guest.boot()
        return guest

    yield start
    for guest in guests:
        guest.__exit__(None, None, None)
