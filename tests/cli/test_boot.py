"""`hv boot` with kernels of a few bytes: how it ends, what is typed, disks and kernels that cannot be."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pyhv.engines.select import ENGINES, VARIABLE

from .conftest import Hv

Image = Callable[..., Path]
LOAD_AT = 0x10_0000
PRINT = "ba f8 03 00 00 b9 {count:02x} 00 00 00 be {at} f3 6e"  # mov edx, 0x3f8; mov ecx, n; mov esi, text; rep outsb
POWER_OFF = "66 ba 04 06 66 b8 00 34 66 ef"  # out 0x604, 5 << 10 | 1 << 13
RESET = "66 ba f9 0c b0 06 ee"  # out 0xcf9, 6
TRIPLE_FAULT = "0f 0b"
HALT = "fa f4"
SPIN = "eb fe"
EXIT_5 = "b0 05 e6 f4"
ECHO_UNTIL_DOT = "66 ba fd 03 ec a8 01 74 f7 66 ba f8 03 ec ee 3c 2e 75 ed"


@pytest.fixture(autouse=True, params=["soft", "kvm"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `hv boot` takes."""
    name = str(request.param)
    if not ENGINES[name].status().works:
        pytest.skip(f"the {name} engine does not work here")
    if name != "soft" and "cannot_be" in request.node.name:
        pytest.skip("it ends before there is a machine")
    monkeypatch.setenv(VARIABLE, name)
    return name


def kernel(code: str, text: bytes = b"") -> bytes:
    """A Multiboot kernel by address fields: code that prints `text` first, if there is one, and goes on with `code`."""
    header = struct.pack("<3I", 0x1BADB002, 0x10000, -(0x1BADB002 + 0x10000) & 0xFFFF_FFFF)
    at = LOAD_AT + 32
    printing = bytes.fromhex(PRINT.format(count=len(text), at=bytes(4).hex())) if text else b""
    body = bytearray(printing + bytes.fromhex(code))
    if text:
        struct.pack_into("<I", body, 11, at + len(body))
    body += text
    addresses = struct.pack("<5I", LOAD_AT, LOAD_AT, LOAD_AT + 32 + len(body), LOAD_AT + 0x10000, at)
    return header + addresses + bytes(body)


@pytest.mark.parametrize(
    ("code", "text", "ends"),
    [
        (POWER_OFF, b"bye\n", 0),
        (RESET, b"again\n", 16),
        (TRIPLE_FAULT, b"", 8),
        (HALT, b"", 10),
        (RESET, b"Kernel panic - not syncing: x\r\n", 18),
        (HALT, b"Kernel panic - not syncing: x\r\n", 18),
        (SPIN, b"Kernel panic - not syncing: x\r\n", 18),
        (EXIT_5, b"", 11),
        (SPIN, b"", 124),
    ],
    ids=["power-off", "reboot", "triple-fault", "halt", "panic", "panic-halt", "panic-spin", "exit-port", "timeout"],
)
def test_each_end_has_its_code(hv: Hv, image: Image, code: str, text: bytes, ends: int) -> None:
    seconds = "1" if ends == 124 else "30"
    done = hv("boot", "--kernel", image(kernel(code, text)), "--timeout", seconds, "--engine", "soft")
    assert done.returncode == ends, done.stderr
    assert done.stdout == text.decode().replace("\r\n", "\n")
    assert (done.stderr == "") == (ends in (0, 11))


def test_what_is_typed_arrives_and_its_end_does_not_end_the_run(hv: Hv, image: Image) -> None:
    file = image(kernel(ECHO_UNTIL_DOT + POWER_OFF))
    done = hv("boot", "--kernel", file, "--timeout", "30", input="hello \x01x.")
    assert (done.returncode, done.stdout) == (0, "hello \x01x.\n")
    done = hv("boot", "--kernel", file, "--timeout", "1", input="no end")
    assert (done.returncode, done.stdout) == (124, "no end\n")


def test_until(hv: Hv, image: Image) -> None:
    done = hv("boot", "--kernel", image(kernel(SPIN, b"ready\n")), "--timeout", "30", "--until", "ready")
    assert (done.returncode, done.stdout) == (0, "ready\n")


def test_json(hv: Hv, image: Image) -> None:
    done = hv("boot", "--kernel", image(kernel(POWER_OFF, b"hi\n")), "--json", "--profile", "--append", "a b")
    said = json.loads(done.stdout)
    assert (said["outcome"], said["exit_code"], said["output"]) == ("powered-off", 0, "hi\n")
    assert (said["command_line"], said["kind"]) == ("a b", "Multiboot kernel")
    assert {row["device"] for row in said["profile"]} == {"Uart16550", "PowerManagement"}
    assert "Uart16550" in done.stderr


def test_kernels_that_cannot_be(hv: Hv, image: Image, tmp_path: Path) -> None:
    for file, words in (
        (image(b"\0" * 4096), "this is no kernel"),
        (image(b"", "empty"), "nothing to boot"),
        (tmp_path / "not-there", "does not exist"),
        (tmp_path, "is a directory"),
    ):
        done = hv("boot", "--kernel", file)
        assert done.returncode == 4
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    done = hv("boot", "--kernel", image(kernel(SPIN)), "--initrd", tmp_path / "no-initrd")
    assert (done.returncode, "does not exist" in done.stderr) == (4, True)


def test_disks_that_cannot_be(hv: Hv, image: Image, tmp_path: Path) -> None:
    file = image(kernel(POWER_OFF))
    odd = tmp_path / "odd.img"
    odd.write_bytes(bytes(700))
    for disk, words in ((tmp_path / "gone.img", "cannot be opened"), (odd, "whole sectors"), (tmp_path, "opened")):
        done = hv("boot", "--kernel", file, "--disk", disk)
        assert done.returncode == 4
        assert words in done.stderr
    good = tmp_path / "good.img"
    good.write_bytes(bytes(1 << 20))
    good.chmod(0o400)
    assert hv("boot", "--kernel", file, "--disk", f"{good},ro").returncode == 0


@pytest.mark.parametrize("options", [("--cpus", "0"), ("--cpus", "65"), ("--memory", "12"), ("--timeout", "x")])
def test_options_that_cannot_be(hv: Hv, image: Image, options: tuple[str, str]) -> None:
    assert hv("boot", "--kernel", image(kernel(SPIN)), *options).returncode == 2


def test_more_processors_wait_to_be_started(hv: Hv, image: Image) -> None:
    done = hv("boot", "--kernel", image(kernel(POWER_OFF, b"one of four\n")), "--cpus", "4", "--timeout", "30")
    assert (done.returncode, done.stdout) == (0, "one of four\n")
