"""`hv run --engine kvm`, confined as always: what it promises on every engine, and what it says that KVM cannot."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyhv.engines.select import ENGINES, VARIABLE

from .conftest import COMMAND, Hv

pytestmark = pytest.mark.skipif(not ENGINES["kvm"].status().works, reason="the kvm engine does not work here")

Image = Callable[..., Path]
EXIT_7 = "b041 e6e9 b807 00 e7f4"  # A to port 0xe9, 7 to port 0xf4
LOOP = "ebfe"


def run(hv: Hv, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return hv("run", path, "--engine", "kvm", *options)


def test_output_and_exit_code(hv: Hv, image: Image) -> None:
    done = run(hv, image(EXIT_7))
    assert (done.returncode, done.stdout, done.stderr) == (15, "A", "")


def test_json_has_no_count(hv: Hv, image: Image) -> None:
    found = json.loads(run(hv, image(EXIT_7), "--json").stdout)
    assert (found["engine"], found["guest_value"], found["output"], found["instructions"]) == ("kvm", 7, "A", None)


def test_stats_say_so(hv: Hv, image: Image) -> None:
    assert "does not count" in run(hv, image(EXIT_7), "--stats").stderr


def test_a_timeout_says_where_it_was(hv: Hv, image: Image) -> None:
    done = run(hv, image(LOOP), "--timeout", "0.3")
    assert done.returncode == 124
    assert "jmp 0x1000" in done.stderr


def test_ctrl_c(image: Image) -> None:
    command = [*COMMAND, "run", str(image("b041 e6e9" + LOOP)), "--engine", "kvm"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.read(1) == "A"
        time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 130


def test_a_death_is_explained(hv: Hv, image: Image) -> None:
    done = run(hv, image("90 0f0b"), "--mode", "long")
    assert done.returncode == 8
    assert "the instruction at 0x1001 (ud2) raised #UD" in done.stderr
    assert "there is no IDT" in done.stderr


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [("guest.bin", ["--max-instructions", "5"], "--engine soft"), ("guest.com", [], "the soft engine does")],
)
def test_what_it_cannot(hv: Hv, image: Image, name: str, options: list[str], said: str) -> None:
    done = run(hv, image(LOOP, name=name), *options)
    assert done.returncode == 6
    assert said in done.stderr


def test_unnamed_it_is_not_taken_for_what_it_cannot(hv: Hv, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    done = hv("run", image(LOOP), "--max-instructions", "5")
    assert done.returncode == 14
    found = json.loads(hv("run", image(EXIT_7), "--json").stdout)
    assert found["engine"] == ("kvm" if ENGINES["kvm"].status().fast else "soft")
