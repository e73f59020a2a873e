"""`hv run --screen text`: on a terminal, in a pipe, in JSON; and memtest86+ on it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import COMMAND, Hv

Image = Callable[..., Path]

MEMTEST, MEMTEST_32 = Path("/boot/memtest86+x64.bin"), Path("/boot/memtest86+ia32.bin")
HI = "b800b88ec0 26c7060000481f 26c7060200691f"  # "Hi" in white on blue
EXIT_0, SPIN, SERIAL_S = "b000 e6f4", "ebfe", "baf803 b053 ee"
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def test_in_a_pipe_the_last_screen_comes_behind_the_output(hv: Hv, image: Image) -> None:
    done = hv("run", image(HI + SERIAL_S + EXIT_0), "--screen", "text")
    assert (done.returncode, done.stdout, done.stderr) == (1, "S\nHi\n", "")


def test_without_it_there_is_none(hv: Hv, image: Image) -> None:
    assert hv("run", image(HI + EXIT_0)).stdout == ""
    assert json.loads(hv("run", image(HI + EXIT_0), "--json").stdout)["screen"] is None


def test_in_json_it_is_lines(hv: Hv, image: Image) -> None:
    result = json.loads(hv("run", image(HI + SERIAL_S + EXIT_0), "--screen", "text", "--json").stdout)
    assert (result["screen"], result["output"]) == (["Hi"], "S")


def test_until_looks_at_it(hv: Hv, image: Image) -> None:
    done = hv("run", image(HI + SPIN), "--screen", "text", "--until", "Hi", "--timeout", "20")
    assert (done.returncode, done.stdout) == (0, "Hi\n")
    done = hv("run", image(SERIAL_S + SPIN), "--screen", "text", "--until", "S", "--timeout", "20")
    assert done.returncode == 0


def test_what_it_takes(hv: Hv, image: Image) -> None:
    done = hv("run", image(HI), "--screen", "colour")
    assert done.returncode == 2
    assert "'none', 'text'" in " ".join(done.stderr.replace("│", " ").split())


def on_terminal(path: Path, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    """As a person sees it, on a terminal of 100 × 30."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, "run", str(path), "--screen", "text", *options],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread here
    )
    os.close(slave)
    return process, master


def read_until(fd: int, wanted: bytes) -> bytes:
    seen, end = b"", time.monotonic() + 20
    while wanted not in seen:
        assert time.monotonic() < end, seen
        assert select.select([fd], [], [], 20)[0], seen
        try:
            seen += os.read(fd, 4096)
        except OSError:  # the other side has gone
            raise AssertionError(f"{wanted!r} never came: {seen!r}") from None
    return seen


def rest(fd: int) -> bytes:
    seen = b""
    while select.select([fd], [], [], 5)[0]:
        try:
            got = os.read(fd, 4096)
        except OSError:
            break
        if not got:
            break
        seen += got
    return seen


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_restored_whatever_ends_it(image: Image, ending: signal.Signals) -> None:
    process, master = on_terminal(image(HI + SPIN))
    before = termios.tcgetattr(master)
    seen = read_until(master, b"Hi")
    assert ENTER in seen
    assert b"\x1b[0;97;44mHi" in seen
    process.send_signal(ending)
    seen = rest(master)
    assert process.wait(20) == (130 if ending is signal.SIGINT else 128 + ending)
    assert LEAVE in seen
    assert b"\x1b[?25h" in seen
    if ending is signal.SIGINT:
        assert seen.index(b"Hi") > seen.index(LEAVE)  # the last picture stays as text
    assert termios.tcgetattr(master)[3] == before[3]
    os.close(master)


def test_unchanged_rows_are_not_drawn_again(image: Image) -> None:
    process, master = on_terminal(image(HI + SPIN), "--timeout", "1.5")
    seen = rest(master)
    assert process.wait(20) == 124
    assert seen[: seen.index(LEAVE)].count(b"Hi") == 1
    os.close(master)


def test_output_of_com1_waits_for_the_end(image: Image) -> None:
    process, master = on_terminal(image(SERIAL_S + HI + SPIN), "--until", "Hi")
    seen = rest(master)
    assert process.wait(20) == 0
    assert seen[seen.index(LEAVE) :].count(b"S") == 1
    assert b"S" not in seen[: seen.index(LEAVE)]
    os.close(master)


def test_keys_come_from_the_keyboard(image: Image) -> None:
    """Protected mode, so that no BIOS takes the keys: each scan code is shown as a character, "." ends it."""
    poll = "e464 a801 74fa e460 3c34 7407 a2a0800b00 ebed b000 e6f4"
    process, master = on_terminal(image("c605 00800b00 3e" + poll), "--mode", "protected")
    read_until(master, b">")
    os.write(master, b"h")  # 23h, A3h
    read_until(master, "ú".encode())
    os.write(master, b".")
    assert process.wait(20) == 1
    os.close(master)


@pytest.mark.skipif(not MEMTEST.exists(), reason="Debian's memtest86+ is not installed")
@pytest.mark.parametrize("image", [MEMTEST, MEMTEST_32])
def test_memtest86_starts_and_tests(hv: Hv, image: Path) -> None:
    """The one for 32 bits begins with the x87 unit: without it, it stays."""
    done = hv("run", image, "nosmp", "--memory", "16M", "--screen", "text", "--until", "Test #3", "--timeout", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Memtest86+ v" in done.stdout
    assert "pyhv software processor" in done.stdout
    assert "Errors: 0" in done.stdout
