"""Machines of machine.py with one and two vCPUs, by the host's time and by counted time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pyhv import VirtualMachine

from .machine import Machine, fill


@contextmanager
def make(assemble: Callable[[str, int, int], bytes], cpus: int, ns_per_instruction: float) -> Iterator[Machine]:
    with VirtualMachine("soft", apic=True, ns_per_instruction=ns_per_instruction) as vm:
        made = Machine(vm, vm.map(at=0, size=1 << 20), assemble)
        fill(made)
        for _ in range(cpus):
            made.add()
        yield made


@pytest.fixture
def machine(assemble: Callable[[str, int, int], bytes]) -> Iterator[Machine]:
    """One vCPU."""
    with make(assemble, 1, 0) as made:
        yield made


@pytest.fixture
def counted(assemble: Callable[[str, int, int], bytes]) -> Iterator[Machine]:
    """One vCPU, an instruction a nanosecond."""
    with make(assemble, 1, 1) as made:
        yield made


@pytest.fixture
def two(assemble: Callable[[str, int, int], bytes]) -> Iterator[Machine]:
    """Two vCPUs."""
    with make(assemble, 2, 0) as made:
        yield made
