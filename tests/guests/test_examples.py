"""The examples run, as the documentation says, and print what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(script: str, *arguments: str | Path, input: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    return subprocess.run(command, input=input, capture_output=True, text=True, timeout=120, check=False)


def hv(*arguments: str | Path, input: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyhv.cli", "run", *map(str, arguments)]
    return subprocess.run(command, input=input, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guests of `examples/guests`, built by its Makefile."""
    folder = tmp_path_factory.mktemp("examples")
    made = subprocess.run(
        ["make", "-C", str(EXAMPLES / "guests"), f"BUILD={folder}"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert "warning" not in made.stderr, made.stderr
    return folder


def test_hello() -> None:
    done = run("hello.py")
    assert (done.returncode, done.stdout) == (0, "Hello from a guest!\n")


def test_hello_is_short() -> None:
    assert len((EXAMPLES / "hello.py").read_text().splitlines()) <= 24


def test_two_vcpus_lose_no_count() -> None:
    done = run("two_vcpus.py")
    assert (done.returncode, done.stdout) == (0, "two processors counted to 2,000,000 of 2,000,000\n")


def test_mmio_device() -> None:
    done = run("mmio_device.py")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "store 1234567 at 0xd0000000",
        "store 89 at 0xd0000004",
        "load at 0xd0000008",
        "the guest read 109,876,463",
    ]


HELLO_COM = "A .COM program runs on DOS 5.0\nArguments: one two\nWhat is your name? {echo}\nHello, Ada!\n"


def test_dos_by_apple_s_functions(guests: Path) -> None:
    done = run("dos.py", guests / "hello.com", "one", "two", input="Ada\n")
    assert (done.returncode, done.stdout) == (3, HELLO_COM.format(echo=""))


def test_dos_by_apple_s_functions_reads_files(guests: Path) -> None:
    (guests / "note.txt").write_text("a note\n")
    done = run("dos.py", guests / "type.com", "NOTE.TXT")
    assert (done.returncode, done.stdout) == (0, "a note\n")
    done = run("dos.py", guests / "type.com", "NONE.TXT")
    assert (done.returncode, done.stdout) == (1, "cannot open the file\n")


def test_the_dos_guests_on_hv_run(guests: Path) -> None:
    done = hv(guests / "hello.com", "one", "two", input="Ada\n")
    assert done.returncode == 3 << 1 | 1
    assert done.stdout.replace("\n\n", "\n") == HELLO_COM.format(echo="Ada")
    (guests / "note.txt").write_text("a note\n")
    assert hv(guests / "type.com", "NOTE.TXT").stdout == "a note\n"


def test_the_boot_sector(guests: Path) -> None:
    done = hv(guests / "boot.bin")
    assert (done.returncode, done.stdout) == (43, "A boot sector runs in real mode. 1 + 2 + ... + 100 = 5050\n")


def test_the_multiboot_kernel(guests: Path) -> None:
    done = hv(guests / "kernel32.elf", "--memory", "64M", "root=none")
    assert done.returncode == 1
    assert "command line: root=none" in done.stdout
    assert "00000000:00100000+0000000003F00000 usable" in done.stdout


def test_the_tour(guests: Path) -> None:
    done = hv(guests / "tour.elf")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "primes below a million: 78498, the last is 999983"
    assert lines[2] == "SHA-256 of a million a: cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert lines[3] == "page fault at 123456789028, a write; now there is a page"
    assert lines[-1] == "all parts came out right"
