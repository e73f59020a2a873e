"""The other subcommands, and what the documentation says about the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pyhv.cli.exit_codes import ExitCode

from .conftest import Hv

DOCS = Path(__file__).parents[2] / "docs" / "exit-codes.md"


def test_version(hv: Hv) -> None:
    done = hv("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"hv \(pyhv \d+\.\d+\.\d+\)\n", done.stdout)


def test_no_subcommand_is_help(hv: Hv) -> None:
    done = hv()
    assert done.returncode == 2
    assert all(name in done.stdout + done.stderr for name in ("run", "engines", "sysctl"))


@pytest.mark.parametrize("subcommand", ["run", "boot", "compare", "engines", "c-flags", "sysctl"])
def test_each_subcommand_has_help(hv: Hv, subcommand: str) -> None:
    done = hv(subcommand, "--help")
    assert done.returncode == 0
    assert "Usage: hv" in done.stdout


def test_engines(hv: Hv) -> None:
    rows = {row["name"]: row for row in json.loads(hv("engines", "--json").stdout)}
    assert rows["soft"]["works"]
    assert rows["soft"]["abilities"]
    assert set(rows) == {"soft", "kvm", "apple"}
    assert all(row["reason"] for row in rows.values() if not row["works"])
    assert [row["name"] for row in rows.values() if row["chosen"]] in (["soft"], ["kvm"])
    table = hv("engines").stdout
    assert all(name in table for name in rows)


@pytest.mark.parametrize(
    ("name", "chosen"), [("soft", "chosen: soft, by $PYHV_ENGINE"), ("nope", "chosen: none; $PYHV_ENGINE is 'nope'")]
)
def test_engines_says_which_is_chosen(hv: Hv, monkeypatch: pytest.MonkeyPatch, name: str, chosen: str) -> None:
    monkeypatch.setenv("PYHV_ENGINE", name)
    done = hv("engines")
    assert done.returncode == 0
    assert chosen in done.stdout


def test_sysctl(hv: Hv) -> None:
    assert hv("sysctl", "kern.hv_support").stdout == "kern.hv_support: 1\n"
    assert hv("sysctl", "-n", "kern.hv_support").stdout == "1\n"
    done = hv("sysctl", "kern.ostype")
    assert done.returncode == 2
    assert "kern.hv_support" in done.stderr


def test_the_table_of_exit_codes_is_the_program_s() -> None:
    documented = {int(m) for m in re.findall(r"^\| (\d+) \|", DOCS.read_text(), re.MULTILINE)}
    assert documented == {int(code) for code in ExitCode}
    assert all(code % 2 == 0 for code in documented)
