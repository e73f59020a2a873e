"""`hv` as a process of its own, as people and scripts start it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyhv.engines.select import VARIABLE

Hv = Callable[..., "subprocess.CompletedProcess[str]"]
COMMAND = (sys.executable, "-m", "pyhv.cli")


@pytest.fixture(autouse=True)
def _on_soft(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a test says otherwise: where KVM is fast the commands would take that."""
    monkeypatch.setenv(VARIABLE, "soft")


@pytest.fixture
def hv() -> Hv:
    """`hv("run", path, input=…)`: exit code, stdout and stderr."""

    def run(*arguments: str | Path, input: str = "") -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, *map(str, arguments)]
        return subprocess.run(command, input=input, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture
def image(tmp_path: Path) -> Callable[..., Path]:
    """`image("f4", name=…)` writes bytes, given in hexadecimal, to a file."""

    def make(code: str | bytes, name: str = "guest.bin") -> Path:
        path = tmp_path / name
        path.write_bytes(bytes.fromhex(code) if isinstance(code, str) else code)
        return path

    return make
