"""Machines of machine.py with one and two vCPUs, by the host's time on each engine, and by counted time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pyhv import VirtualMachine
from pyhv.engines.select import ENGINES

from .machine import Machine, fill

SLOW_PATIENCE = 20  # times as long: a KVM that is itself emulated


@contextmanager
def make(
    assemble: Callable[[str, int, int], bytes], cpus: int, ns_per_instruction: float, engine: str = "soft"
) -> Iterator[Machine]:
    status = ENGINES[engine].status()
    if not status.works:
        pytest.skip(f"the {engine} engine: {status.reason}")
    with VirtualMachine(engine, apic=True, ns_per_instruction=ns_per_instruction) as vm:
        made = Machine(vm, vm.map(at=0, size=1 << 20), assemble, 1 if status.fast else SLOW_PATIENCE)
        fill(made)
        for _ in range(cpus):
            made.add()
        yield made


@pytest.fixture(params=["soft", "kvm"])
def engine(request: pytest.FixtureRequest) -> str:
    """Every engine with interrupt controllers."""
    return str(request.param)


@pytest.fixture
def machine(assemble: Callable[[str, int, int], bytes], engine: str) -> Iterator[Machine]:
    """One vCPU."""
    with make(assemble, 1, 0, engine) as made:
        yield made


@pytest.fixture
def counted(assemble: Callable[[str, int, int], bytes]) -> Iterator[Machine]:
    """One vCPU, an instruction a nanosecond."""
    with make(assemble, 1, 1) as made:
        yield made


@pytest.fixture
def two(assemble: Callable[[str, int, int], bytes], engine: str) -> Iterator[Machine]:
    """Two vCPUs."""
    with make(assemble, 2, 0, engine) as made:
        yield made
