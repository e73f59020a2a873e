"""How beginners' guests die, and what `hv run` says: each file of deaths/ tells its options, exit code and words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEATHS = sorted((Path(__file__).parent / "deaths").glob("*.S"))
HV = (sys.executable, "-m", "pyhv.cli", "run")


def told(source: Path, what: str) -> list[str]:
    return re.findall(rf"^# {what}: ?(.*)$", source.read_text(), re.MULTILINE)


def assemble(source: Path, folder: Path) -> Path:
    """Flat code for 0x1000."""
    made, image = folder / "guest.o", folder / "guest.bin"
    subprocess.run(["as", "--64", "-o", made, source], check=True)
    link = ["ld", "-m", "elf_x86_64", "-Ttext=0x1000", "-e", "0", "--oformat", "binary", "-o", image, made]
    subprocess.run(link, check=True)
    return image


def run(image: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*HV, str(image), "--engine", "soft", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("source", DEATHS, ids=lambda path: path.stem)
def test_a_death_is_told(source: Path, tmp_path: Path) -> None:
    options, wanted = told(source, "options")[0].split(), told(source, "said")
    done = run(assemble(source, tmp_path), *options)
    assert done.returncode == int(told(source, "exit")[0]), done.stderr
    assert wanted
    for words in wanted:
        assert words in done.stderr, f"{words}\n--\n{done.stderr}"


def test_there_are_at_least_ten() -> None:
    assert len(DEATHS) >= 10


def test_json_has_the_steps(tmp_path: Path) -> None:
    image = assemble(DEATHS[0].with_name("page_fault_no_idt.S"), tmp_path)
    result = json.loads(run(image, "--mode", "long", "--json").stdout)
    assert [note.split(" raised ")[0] for note in result["notes"][:3]] == [
        "0x100a (mov rax, [rbx])",
        "delivering #PF",
        "delivering #DF",
    ]
