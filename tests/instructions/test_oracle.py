"""The software CPU's instructions, judged by the processor that runs the tests."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from gen_coverage import forms

SEED = 20_240_611
INSTRUCTIONS = 400_000
EACH_ROW = 100
RATE = 20_000  # instructions a second that the judge must reach, on two processors that have nothing else to do
CASES = sorted((Path(__file__).parent / "cases").glob("*.toml"))


def run(oracle: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([oracle, *arguments], capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("bits", ["64", "32", "16"])
def test_random_instructions_do_what_the_processor_does(oracle: Path, bits: str) -> None:
    done = run(oracle, "--seed", str(SEED), "--count", str(INSTRUCTIONS), "--bits", bits, "--failures", "5")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_row_that_can_be_judged_is_judged(oracle: Path) -> None:
    done = run(oracle, "--seed", str(SEED + 1), "--count", str(INSTRUCTIONS), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    rare = {f"{row['mnemonic']} {row['operands']}": row["judged"] for row in result["rows"] if row["judged"] < EACH_ROW}
    assert not rare, f"judged less than {EACH_ROW} times: {rare}"
    judged = {(row["family"], row["mnemonic"], row["operands"]) for row in result["rows"]}
    here = {"BASE", *Path("/proc/cpuinfo").read_text().upper().split()}
    claimed = {(f.family, f.mnemonic.lower(), f.operands) for f in forms() if f.has_oracle and f.feature in here}
    assert claimed <= judged, "docs/reference/coverage.md says that the oracle judges these"
    assert result["instructions"] >= INSTRUCTIONS
    assert result["instructions"] / (result["cpu_seconds"] / 2) >= RATE


def test_the_same_seed_gives_the_same_programs(oracle: Path) -> None:
    first, second = (json.loads(run(oracle, "--seed", "7", "--count", "5000", "--json").stdout) for _ in range(2))
    for result in (first, second):
        del result["seconds"], result["cpu_seconds"]
    assert first == second


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_kept_case_comes_to_its_state(oracle: Path, case: Path) -> None:
    done = run(oracle, "--replay", case)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_case_with_a_wrong_expectation_differs(oracle: Path, tmp_path: Path) -> None:
    """The judge can say no: a register that is off by one in the expected state is named."""
    assert CASES, "tests/instructions/cases has no case"
    lines = CASES[0].read_text().splitlines()
    wrong = [
        f"after_rbx = {int(line.split(' = ')[1], 0) ^ 1:#x}" if line.startswith("after_rbx = ") else line
        for line in lines
    ]
    path = tmp_path / "wrong.toml"
    path.write_text("\n".join(wrong) + "\n")
    done = run(oracle, "--replay", path)
    assert done.returncode == 1
    assert "rbx" in done.stdout


@pytest.mark.parametrize("register", ["xmm1", "mxcsr", "st0", "fsw"])
def test_a_wrong_vector_register_is_named(oracle: Path, tmp_path: Path, register: str) -> None:
    """A case's `after_` value of a register counts, and stays what it was before where the file has none."""
    text = (Path(__file__).parent / "cases/paddd_wraps_each_lane.toml").read_text()
    before = re.findall(rf"^(?:before|after)_{register} = (0x\w+)$", text, re.MULTILINE)[-1]
    kept = [line for line in text.splitlines() if not line.startswith(f"after_{register} ")]
    path = tmp_path / "wrong.toml"
    path.write_text("\n".join([*kept, f"after_{register} = {int(before, 0) ^ 0x100:#x}"]) + "\n")
    done = run(oracle, "--replay", path)
    assert done.returncode == 1
    assert f"{register} " in done.stdout.partition("expected (as judge)")[2]


def test_a_register_that_is_too_wide_is_refused(oracle: Path, tmp_path: Path) -> None:
    path = tmp_path / "wide.toml"
    path.write_text('code = "90"\nbefore_st0 = 0x' + "1" * 21 + "\n")
    done = run(oracle, "--record", path)
    assert done.returncode == 2
    assert "before_st0" in done.stderr
    assert "20" in done.stderr


def test_a_family_that_does_not_exist_is_wrong_use(oracle: Path) -> None:
    done = run(oracle, "--family", "nothing")
    assert done.returncode == 2
    assert "nothing" in done.stderr
