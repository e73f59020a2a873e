"""Whatever a guest is made of, each run ends and the process lives. `hostile.py SEED COUNT` goes on longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GUESTS = 800


@pytest.mark.parametrize("seed", [3, 20261121])
def test_hostile_guests_end(seed: int) -> None:
    command = [sys.executable, str(Path(__file__).with_name("hostile.py")), str(seed), str(GUESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "Shutdown" in done.stdout
    assert "BudgetSpent" in done.stdout
