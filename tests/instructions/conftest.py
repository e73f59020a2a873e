"""hv-oracle, which judges the software CPU by the processor it runs on."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORACLE = ROOT / "build/dev/silicon/oracle/hv-oracle"


@pytest.fixture(scope="session")
def oracle() -> Path:
    """The program's path, built when it is missing; skips where the bare processor cannot judge x86-64 code."""
    if platform.machine().lower() not in ("x86_64", "amd64") or platform.system() != "Linux":
        pytest.skip(f"the bare-host oracle needs x86-64 Linux; this is {platform.machine()} {platform.system()}")
    if not ORACLE.exists():
        built = subprocess.run([ROOT / "tools/build.sh", "hv-oracle"], capture_output=True, text=True, check=False)
        assert built.returncode == 0 and ORACLE.exists(), f"building hv-oracle failed:\n{built.stdout}{built.stderr}"
    return ORACLE
