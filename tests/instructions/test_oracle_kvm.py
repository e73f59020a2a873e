"""The software CPU's instructions, judged by a guest of KVM in user mode."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from pyhv.engines.select import ENGINES

INSTRUCTIONS = 40_000
CASES = sorted((Path(__file__).parent / "cases").glob("*.toml"))


@pytest.fixture(scope="module")
def judge(oracle: Path) -> list[str]:
    """The oracle with KVM as its judge; skips with what stands in its way."""
    status = ENGINES["kvm"].status()
    if not status.works:
        pytest.skip(f"no KVM to judge: {status.reason}")
    return [str(oracle), "--judge", "kvm"]


def run(command: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=300)


def test_random_instructions_do_what_kvm_does(judge: list[str]) -> None:
    done = run(judge, "--seed", "20240612", "--count", str(INSTRUCTIONS), "--failures", "5", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["instructions"] >= INSTRUCTIONS
    assert result["not_judged"] < result["programs"] / 3
    assert result["faulted"] > result["programs"] / 10


def test_kept_cases_come_to_their_state(judge: list[str]) -> None:
    """Those that this KVM leaves to the processor: an emulated one does so with 64-bit code."""
    done = run(judge, "--replay", *CASES)
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    assert set(said) == {str(case) for case in CASES}
    assert set(said.values()) <= {"as expected", "not judged"}
    in_64_bits = [str(case) for case in CASES if re.search(r"^bits = 64$", case.read_text(), re.MULTILINE)]
    assert sum(said[case] == "as expected" for case in in_64_bits) > len(in_64_bits) / 2


def test_a_wrong_expectation_differs(judge: list[str], tmp_path: Path) -> None:
    """This judge can say no too."""
    text = (Path(__file__).parent / "cases/paddd_wraps_each_lane.toml").read_text()
    wrong = re.sub(r"^after_rbx = (0x\w+)$", lambda m: f"after_rbx = {int(m[1], 0) ^ 1:#x}", text, flags=re.MULTILINE)
    assert wrong != text
    path = tmp_path / "wrong.toml"
    path.write_text(wrong)
    done = run(judge, "--replay", path)
    assert done.returncode == 1
    assert "rbx" in done.stdout


@pytest.mark.parametrize("bits", ["32", "16"])
def test_code_that_kvm_emulates_is_not_judged(judge: list[str], bits: str) -> None:
    done = run(judge, "--bits", bits, "--count", "2000")
    assert done.returncode == 0 or "KVM can judge" in done.stderr, done.stdout + done.stderr


def test_a_judge_that_does_not_exist_is_wrong_use(oracle: Path) -> None:
    done = run([str(oracle)], "--judge", "tarot")
    assert done.returncode == 2
    assert "host or kvm" in done.stderr


def test_without_a_right_to_the_device_the_judge_names_it(oracle: Path) -> None:
    device = Path("/dev/kvm")
    if os.geteuid() != 0 or not device.exists() or device.stat().st_mode & 0o006:
        pytest.skip("needs root, who gives away a right to /dev/kvm")
    number = os.open(oracle, os.O_RDONLY)  # by its number: another user need not reach its folder
    try:
        command = [f"/proc/self/fd/{number}", "--judge", "kvm"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, user=65534, pass_fds=[number], timeout=60
        )
    finally:
        os.close(number)
    assert done.returncode == 2
    assert "/dev/kvm" in done.stderr
