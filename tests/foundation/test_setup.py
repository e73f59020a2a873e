"""The set-up says what is missing, in one line that can be pasted, when it may not install it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALWAYS = ["bash", "dirname", "cat", "c++", "gcc", "ld", "cmake", "ninja", "apt-get", "env"]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A PATH with only what the set-up looks for, all of it present."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ALWAYS:
        found = shutil.which(name)
        assert found, f"this test needs {name}"
        (tools / name).symlink_to(found)
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    return tools


def setup(machine: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a copy of the set-up, so that a mistake in it cannot touch this checkout."""
    checkout = machine.parent / "checkout"
    (checkout / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "setup.sh", checkout / "tools")
    environment = {"PATH": str(machine), "HOME": str(machine.parent), "PYHV_APT": "no", **settings}
    return subprocess.run(
        [str(checkout / "tools" / "setup.sh")], env=environment, capture_output=True, text=True, check=False
    )


def test_what_is_missing_is_named_by_package_and_nothing_else(machine: Path) -> None:
    (machine / "cmake").unlink()
    (machine / "ninja").unlink()
    done = setup(machine)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].split() == ["setup:", "apt-get", "install", "cmake", "ninja-build"]


def test_without_apt_it_says_so(machine: Path) -> None:
    (machine / "ninja").unlink()
    (machine / "apt-get").unlink()
    done = setup(machine)
    assert done.returncode == 1
    assert "ninja-build" in done.stderr
    assert "no apt-get" in done.stderr


def test_an_interpreter_that_will_not_do_is_refused(machine: Path) -> None:
    old = machine / "python3.9"
    old.write_text(f"#!{shutil.which('bash')}\nexit 1\n")
    old.chmod(0o755)
    done = setup(machine, PYTHON=str(old))
    assert done.returncode == 1
    assert done.stderr == f"setup: PYTHON={old} is not CPython 3.11 or newer\n"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_the_scripts_can_be_run() -> None:
    for script in [*ROOT.glob("tools/*.sh"), ROOT / ".ci" / "run"]:
        assert os.access(script, os.X_OK), script
