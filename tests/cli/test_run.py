"""`hv run`: exit codes, output, errors that say what would do, Ctrl-C, JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import COMMAND, Hv

Image = Callable[..., Path]

HELLO = "baf803 be0f10 ac 84c0 7403 ee ebf8 f4".replace("0f10", "1210") + "0000"
PRINT_A_AND_EXIT_5 = "baf803 b041 ee b005 e6f4"
SPIN = "ebfe"
ECHO_UNTIL_DOT = "bafd03 ec a801 74f8 baf803 ec ee 3c2e 75ef b000 e6f4"


def test_the_guest_s_output_and_exit_code(hv: Hv, image: Image) -> None:
    done = hv("run", image(PRINT_A_AND_EXIT_5))
    assert (done.returncode, done.stdout, done.stderr) == (5 << 1 | 1, "A", "")


@pytest.mark.parametrize(("value", "code"), [(0, 1), (1, 3), (127, 255), (128, 1)])
def test_exit_codes_are_qemu_s(hv: Hv, image: Image, value: int, code: int) -> None:
    assert hv("run", image(f"b0{value:02x} e6f4")).returncode == code


@pytest.mark.parametrize("port", ["e9", "0402"])
def test_debug_ports_print_and_show_themselves(hv: Hv, image: Image, port: str) -> None:
    number = int(port, 16).to_bytes(2, "little").hex()
    done = hv("run", image(f"ba{number} ec ba{number} b058 ee ec e6f4"))
    assert (done.stdout, done.returncode) == ("X", (0xE9 << 1 | 1) & 0xFF)


def test_stdin_reaches_com1(hv: Hv, image: Image) -> None:
    done = hv("run", image(ECHO_UNTIL_DOT), "--timeout", "20", input="over and out.")
    assert (done.stdout, done.returncode) == ("over and out.", 1)


# What cannot run


def test_a_missing_file(hv: Hv, tmp_path: Path) -> None:
    done = hv("run", tmp_path / "nothing.bin")
    assert (done.returncode, done.stdout) == (4, "")
    assert "nothing.bin does not exist" in done.stderr


def test_a_directory(hv: Hv, tmp_path: Path) -> None:
    done = hv("run", tmp_path)
    assert done.returncode == 4
    assert "is a directory; a file would do" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\x7fELF\x02\x01\x01" + bytes(30), "damaged or truncated"),
        (b"MZ" + bytes(100), "of DOS only .COM programs run"),
        (b"\x1f\x8b\x08" + bytes(10), "gunzip"),
    ],
)
def test_files_that_are_no_guest(hv: Hv, image: Image, content: bytes, said: str) -> None:
    done = hv("run", image(content))
    assert done.returncode == 4
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreadable_file(hv: Hv, image: Image) -> None:
    path = image("f4")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user can read everything")
    assert hv("run", path).returncode == 4


def test_an_image_beyond_the_memory_says_how_much_would_do(hv: Hv, image: Image) -> None:
    done = hv("run", image("f4"), "--load", "0x2000000", "--mode", "long", "--memory", "16M")
    assert done.returncode == 4
    assert "the machine has 16 MiB of RAM; --memory 33M would do" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--memory", "7Q"], "is not a size"),
        (["--memory", "1K"], "1 MiB to 1 TiB"),
        (["--memory", "1048577"], "whole pages"),
        (["--load", "7C00"], "is not an address"),
        (["--mode", "virtual"], "'real', 'protected', 'long'"),
        (["--timeout", "-1"], "is not a time"),
        (["--timeout", "soon"], "is not a time"),
        (["--max-instructions", "0"], "1"),
        (["--engine", "warp"], "no engine"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_usage_errors(hv: Hv, image: Image, options: list[str], said: str) -> None:
    done = hv("run", image("f4"), *options)
    assert done.returncode == 2
    text = " ".join(done.stderr.replace("│", " ").split())
    assert said in text
    assert "Traceback" not in done.stderr


def test_an_engine_that_does_not_work_here(hv: Hv, image: Image) -> None:
    done = hv("run", image("f4"), "--engine", "apple")
    assert done.returncode == 6
    assert "apple" in done.stderr


# How guests end badly


def test_a_dead_guest_shows_why_where_and_the_registers(hv: Hv, image: Image) -> None:
    done = hv("run", image("b8efbeadde 90 0f0b"), "--mode", "protected")
    assert done.returncode == 8
    wanted = ("triple fault", "#UD", "there is no IDT", "last instructions", "nop", "> 0x1006", "ud2", "eax deadbeef")
    for part in wanted:
        assert part in done.stderr, part


def test_a_guest_that_halted_for_ever(hv: Hv, image: Image) -> None:
    done = hv("run", image("fa f4"))
    assert done.returncode == 10
    assert "RFLAGS.IF = 0" in done.stderr


def test_what_the_machine_does_not_carry(hv: Hv, image: Image) -> None:
    done = hv("run", image("b80102 cd13"))
    assert done.returncode == 12
    assert "INT 13h" in done.stderr


def test_a_reset(hv: Hv, image: Image) -> None:
    done = hv("run", image("b0fe e664 f4"))
    assert done.returncode == 16
    assert "keyboard controller" in done.stderr


# Limits


def test_a_timeout(hv: Hv, image: Image) -> None:
    started = time.monotonic()
    done = hv("run", image(SPIN), "--timeout", "0.5")
    assert done.returncode == 124
    assert time.monotonic() - started < 10
    assert "0.5 s" in done.stderr


def test_a_timeout_while_the_guest_sleeps(hv: Hv, image: Image) -> None:
    controller = "b011 e620 b020 e621 b004 e621 b001 e621 b0fe e621"
    timer, vector = "b034 e643 b000 e640 e640", "c70680002e10 c70682000000"
    sleep, handler = "fb f4 ebfd", "b020 e620 cf"
    done = hv("run", image(controller + timer + vector + sleep + handler), "--timeout", "1", "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["outcome"]) == (124, "timed-out")
    assert 15 < result["exits"]["Halted"] < 25  # 18.2 ticks a second
    assert result["exec_seconds"] < 0.5


def test_the_limit_of_instructions(hv: Hv, image: Image) -> None:
    done = hv("run", image(SPIN), "--max-instructions", "12345", "--json")
    assert (done.returncode, json.loads(done.stdout)["instructions"]) == (14, 12345)


def test_until_ends_with_success(hv: Hv, image: Image) -> None:
    done = hv("run", image("baf803 b061 ee fec0 3c7b 75f9 ebfe"), "--until", "xyz", "--timeout", "20")
    assert (done.returncode, done.stdout) == (0, "abcdefghijklmnopqrstuvwxyz")


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(image: Image, times: int) -> None:
    process = subprocess.Popen([*COMMAND, "run", str(image("baf803 b041 ee ebfe"))], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(1) == b"A"
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.stdout.close()


# Reports


def test_json_is_the_whole_of_stdout(hv: Hv, image: Image) -> None:
    path = image(PRINT_A_AND_EXIT_5)
    done = hv("run", path, "--json")
    result = json.loads(done.stdout)
    assert done.returncode == result["exit_code"] == 11
    wanted = {"outcome": "guest-exited", "guest_value": 5, "output": "A", "kind": "flat binary", "mode": "real"}
    assert wanted.items() <= result.items()
    assert result["instructions"] == 5
    assert result["exits"] == {"PortOut": 2}
    assert result["image"] == str(path)


def test_json_of_a_dead_guest_has_registers_and_history(hv: Hv, image: Image) -> None:
    result = json.loads(hv("run", image("0f0b"), "--mode", "long", "--json").stdout)
    assert (result["outcome"], result["exit_code"]) == ("guest-died", 8)
    assert "#UD" in result["reason"]
    assert result["registers"]
    assert "ud2" in result["history"][-1]


def test_json_of_an_error(hv: Hv, tmp_path: Path) -> None:
    done = hv("run", tmp_path / "none", "--json")
    assert json.loads(done.stdout)["outcome"] == "error"
    assert json.loads(done.stdout)["exit_code"] == done.returncode == 4


def test_stats_go_to_stderr(hv: Hv, image: Image) -> None:
    done = hv("run", image(PRINT_A_AND_EXIT_5), "--stats")
    assert done.stdout == "A"
    assert "instructions: 5" in done.stderr
    assert "exits: 2 (PortOut 2)" in done.stderr


def test_trace_prints_each_instruction_before_it_runs(hv: Hv, image: Image) -> None:
    done = hv("run", image(PRINT_A_AND_EXIT_5), "--trace")
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (11, "A", 5)
    assert lines[0].startswith("0x1000: ba f8 03")
    assert "out" in lines[2]


def test_a_closed_stdout_is_no_error_of_ours(image: Image) -> None:
    path = image("baf803 b041 b90010 ee e2fd b000 e6f4")
    shell = f"{' '.join(COMMAND)} run {path} | head -c 1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "A"
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr


# A real terminal


def on_terminal(path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """`hv run` with a terminal of its own, which controls its session; we hold the other end."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "run", str(path)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread here
    )
    os.close(slave)
    return process, master


def read_until(fd: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        assert select.select([fd], [], [], 20)[0], seen
        seen += os.read(fd, 100)
    return seen


READY = "baf803 b03e ee"  # prints ">"


def test_a_terminal_gives_each_key_at_once_and_enter_as_cr(image: Image) -> None:
    process, master = on_terminal(image(READY + ECHO_UNTIL_DOT))
    read_until(master, b">")
    os.write(master, b"k")
    assert read_until(master, b"k") == b"k"  # once: the terminal itself does not echo
    os.write(master, b"\r")
    assert read_until(master, b"\r") == b"\r"
    os.write(master, b".")
    assert process.wait(20) == 1
    os.close(master)


def test_a_long_and_silent_run_shows_progress_and_takes_it_away(image: Image) -> None:
    process, master = on_terminal(image("baf803 b03e ee b00a ee ebfe"))
    read_until(master, b">")
    seen = read_until(master, b"million instructions")
    assert b"running: 2 s" in seen
    os.write(master, b"\x03")
    assert read_until(master, b"interrupted").rindex(b"\r\x1b[K") >= 0
    assert process.wait(20) == 130
    os.close(master)


def test_progress_is_only_for_terminals(hv: Hv, image: Image) -> None:
    assert "running" not in hv("run", image(SPIN), "--timeout", "2.5").stderr


def test_ctrl_c_on_a_terminal(image: Image) -> None:
    process, master = on_terminal(image(READY + SPIN))
    before = termios.tcgetattr(master)
    read_until(master, b">")
    os.write(master, b"\x03")
    assert process.wait(20) == 130
    assert termios.tcgetattr(master)[3] == before[3]
    os.close(master)
