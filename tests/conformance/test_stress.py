"""The stress program in a process of its own, since what it looks for ends in a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("stress.py")


def stress(seed: int, seconds: float) -> None:
    command = [sys.executable, str(PROGRAM), str(seed), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout.startswith(f"seed {seed}: ")


def test_changes_under_running_vcpus() -> None:
    stress(1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_changes_under_running_vcpus_for_long(seed: int) -> None:
    stress(seed, 20)
