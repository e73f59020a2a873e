"""The bench's instructions are the vCPU's own count: stepping one by one comes to the same number."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import guest

FEW = {"sum_loop": 40, "sieve": 60, "fib": 6, "sort": 12, "sha256": 1, "quicksort": 12, "bytecode": 5, "mandelbrot": 4}
"""What takes a few thousand steps; `chase`, the copies and `matmul` begin by filling memory."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return guest.compile_loops(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize("name", FEW)
def test_the_count_is_the_number_of_steps(made: dict[str, Path], name: str) -> None:
    loop = next(loop for loop in guest.LOOPS if loop.name == name)
    counted, steps = guest.stepped_instructions(made[loop.source], "soft", loop, FEW[name])
    assert counted == steps
    assert counted > 100
