"""hv-stress, the storm in C++: what it finds ends in a crash or in a sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STRESS = ROOT / "build/dev/silicon/stress/hv-stress"


def stress(seed: int, seconds: float) -> None:
    if not STRESS.exists():
        built = subprocess.run([ROOT / "tools/build.sh", "hv-stress"], capture_output=True, text=True, check=False)
        assert built.returncode == 0 and STRESS.exists(), f"building hv-stress failed:\n{built.stdout}{built.stderr}"
    done = subprocess.run(
        [STRESS, str(seed), str(seconds)], capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout.startswith(f"seed {seed}: ")


def test_changes_under_running_vcpus() -> None:
    stress(1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_changes_under_running_vcpus_for_long(seed: int) -> None:
    stress(seed, 20)
