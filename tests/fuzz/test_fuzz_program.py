"""hv-fuzz, short and without sanitizers (building with them takes minutes: `make fuzz`). Guard pages stand around each
page of guest memory here too, so an access that goes astray ends a case."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUZZ = ROOT / "build/dev/silicon/fuzz/hv-fuzz"


def fuzz(*options: object) -> subprocess.CompletedProcess[str]:
    if not FUZZ.exists():
        built = subprocess.run([ROOT / "tools/build.sh", "hv-fuzz"], capture_output=True, text=True, check=False)
        assert built.returncode == 0 and FUZZ.exists(), f"building hv-fuzz failed:\n{built.stdout}{built.stderr}"
    command = [str(word) for word in (FUZZ, *options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    ("target", "cases", "exits"),
    [
        ("code", 3000, "PortIn MmioLoad MmioStore MmioFetch Shutdown Kicked BudgetSpent MonitorTrap Breakpoint"),
        ("paging", 1000, "MmioLoad MmioStore Exception MonitorTrap"),
        ("entry", 2000, "BadGuestState Exception InterruptWindow Unnamed"),
        ("changes", 200, "Kicked MmioLoad Shutdown"),
    ],
)
def test_random_guests_keep_their_promises(target: str, cases: int, exits: str) -> None:
    done = fuzz("--target", target, "--count", cases, "--seed", 20261121)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{cases} cases" in done.stdout
    seen = dict(re.findall(r" ([A-Z]\w+) (\d+)", done.stdout.partition("exits:")[2]))
    assert set(exits.split()) <= seen.keys(), done.stdout


def test_a_case_comes_again_by_its_number() -> None:
    runs = [fuzz("--target", "code", "--case", 17, "--budget", 40).stdout for _ in range(2)]
    assert runs[0] == runs[1]
    assert "code, case 17: nothing is wrong" in runs[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "nothing"), "--target nothing: there is no such target"),
        (("--count", "many"), "--count many: a whole number would do"),
        (("--seed",), "--seed: no such option, or it lacks its value"),
        (("--sead", "1"), "--sead: there is no such option"),
    ],
)
def test_wrong_use_is_named(options: tuple[str, ...], said: str) -> None:
    done = fuzz(*options)
    assert done.returncode == 2
    assert said in done.stderr
