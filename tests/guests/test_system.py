"""A small system on the PC of `hv boot`, on every engine that has interrupt controllers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyhv.engines.select import ENGINES

SAID = ["serial", "timer", "second processor", "messages both ways", "virtio"]
ROUNDS = 5  # what two threads do to each other is not always the same


@pytest.mark.parametrize("engine", ["soft", "kvm"])
def test_it_finds_timer_second_processor_and_device(build: Callable[[str], Path], engine: str) -> None:
    status = ENGINES[engine].status()
    if not status.works:
        pytest.skip(f"the {engine} engine: {status.reason}")
    command = [sys.executable, "-m", "pyhv.cli", "boot", "--engine", engine, "--cpus", "2", "--timeout", "30", "--json"]
    for _ in range(ROUNDS):
        done = subprocess.run(
            [*command, "--kernel", str(build("system.c"))], capture_output=True, text=True, timeout=60, check=False
        )
        found = json.loads(done.stdout)
        assert (found["output"].split("\n")[:-1], found["outcome"], done.returncode) == (SAID, "powered-off", 0)
        assert (found["engine"], found["instructions"] is None) == (engine, engine == "kvm")
