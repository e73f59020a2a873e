"""A guest that moves between soft and KVM at any moment ends as one that stays: registers, vector state, memory."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pyhv import BudgetSpent, CpuState, MonitorTrap
from pyhv._core.state import NAMES

from .moving import machines, program, to_the_end

ITEMS = 60


def moved_and_stayed(seed: int) -> None:
    code = program(seed, ITEMS)
    for user in (False, True):
        stayed, memory = to_the_end(["soft"], code, user, seed, budget=False)
        for engines, budget in (
            *((["kvm"], False), (["soft", "kvm"], False), (["kvm", "soft"], False)),
            *((["soft", "kvm"], True), (["kvm", "soft"], True)),
        ):
            end, there = to_the_end(engines, code, user, seed, budget)
            what = f"seed {seed}, {'user' if user else 'kernel'} code, {' and '.join(engines)}, {budget=}"
            assert end.diff(stayed) == [], what
            assert there == memory, what


@pytest.mark.parametrize("seed", range(12))
def test_moving_changes_nothing(kvm: str, seed: int) -> None:
    moved_and_stayed(seed)


@pytest.mark.slow
def test_moving_changes_nothing_for_long(kvm: str) -> None:
    for seed in range(1000, 1600):
        moved_and_stayed(seed)


def random_state(state: CpuState, seed: int) -> CpuState:
    """`state` with everything changed that a guest in 64-bit mode can have changed."""
    choice = random.Random(seed)
    values = {name: choice.getrandbits(64) for name in NAMES[2:18]} | {"cr2": choice.getrandbits(64)}
    canonical = ("lstar", "cstar", "kernel_gs_base", "sysenter_esp", "sysenter_eip", "star", "dr0", "dr1", "dr2", "dr3")
    bases = ("fs.base", "gs.base", "gdtr.base", "idtr.base", "tr.base")
    values |= {name: choice.getrandbits(46) for name in canonical + bases}
    values |= {name: choice.getrandbits(16) for name in ("gdtr.limit", "idtr.limit", "sysenter_cs")}
    values |= {"fmask": choice.getrandbits(32), "tsc_aux": choice.getrandbits(32), "tpr": choice.randrange(16) << 4}
    values |= {"dr6": 0xFFFF_0FF0 | choice.getrandbits(4), "rflags": choice.getrandbits(12) & 0xCD5 | 2}
    values |= {"pat": int.from_bytes(choice.choices([0, 1, 4, 5, 6, 7], k=8), "little")}
    xsave = bytearray(state.xsave)
    xsave[:6] = bytes.fromhex("7f02000000") + bytes(1)
    xsave[4] = choice.randrange(256)
    for register in range(8):
        xsave[32 + 16 * register : 42 + 16 * register] = choice.randbytes(8) + (0x3FFF).to_bytes(2, "little")
    xsave[160:416] = choice.randbytes(256)
    xsave[24:28] = (0x1F80 | choice.randrange(4) << 13 | choice.getrandbits(6)).to_bytes(4, "little")
    xsave[512] = 3
    return replace(state.replace(values), xsave=bytes(xsave))


@pytest.mark.parametrize("seed", range(8))
def test_every_value_moves_both_ways(kvm: str, seed: int) -> None:
    with machines(["soft", kvm], b"\x90" * 64, user=False) as ((soft, other), _):
        state = random_state(soft.state, seed)
        soft.state = state
        assert soft.state.diff(state) == []
        for _ in range(3):
            other.state = soft.state
            assert other.state.diff(soft.state) == []
            assert other.step() == MonitorTrap()  # in KVM
            assert soft.step() == MonitorTrap()
            assert other.state.diff(soft.state) == []
            assert other.run(budget=3) == BudgetSpent()
            soft.state = other.state
            assert soft.state.diff(other.state) == []
        assert [line for line in soft.state.diff(state) if not line.startswith("rip")] == []
