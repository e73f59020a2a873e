"""REP in bulk: whatever the budget cuts it into, each iteration counts one and the state is exact at every boundary."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from pyhv import BudgetSpent, Halted, VCpu, VirtualMachine

CODE, DATA, SIZE = 0x1000, 0x10000, 0x40000
REP_MOVSB, REP_STOSD, REP_LODSQ, REPNE_SCASB, REPE_CMPSW = "f3a4", "f3ab", "f348ad", "f2ae", "f366a7"


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[VCpu, bytearray]]:
    with VirtualMachine(engine="soft") as vm:
        ram = vm.map(at=0, size=1 << 20)
        ram[0x2000:0x2008] = (0x3003).to_bytes(8, "little")
        ram[0x3000:0x3008] = (0x83).to_bytes(8, "little")
        with vm.vcpu() as cpu:
            cpu.enter_long(0x2000)
            yield cpu, ram  # type: ignore[misc]


def start(
    cpu: VCpu, ram: bytearray, code: str, *, rcx: int, rsi: int, rdi: int, rax: int = 0, backwards: bool = False
) -> None:
    program = bytes.fromhex(code) + b"\xf4"
    ram[CODE : CODE + len(program)] = program
    cpu.regs.rip, cpu.regs.rcx, cpu.regs.rsi, cpu.regs.rdi, cpu.regs.rax = CODE, rcx, rsi, rdi, rax
    cpu.regs.rflags = 0x402 if backwards else 2


def run_in_pieces(cpu: VCpu, seed: int) -> int:
    """Runs to HLT in budgets of random size; the instructions executed."""
    rng = random.Random(seed)
    before = cpu.instructions
    while True:
        budget = rng.choice((1, 2, 3, 7, 100, 5000))
        here = cpu.instructions
        stopped = cpu.run(budget=budget)
        if stopped == Halted():
            return cpu.instructions - before
        assert stopped == BudgetSpent()
        assert cpu.instructions - here == budget


@pytest.mark.parametrize("seed", range(20))
def test_movsb_moves_as_byte_by_byte(machine: tuple[VCpu, bytearray], seed: int) -> None:
    """Also where source and destination overlap, over page edges, and downwards."""
    cpu, ram = machine
    rng = random.Random(seed)
    count = rng.randrange(1, 20000)
    source = DATA + rng.randrange(0x4000)
    target = source + rng.choice((1, 2, 8, 4096, -1, -3, -5000, 0x8000))
    backwards = rng.random() < 0.3
    ram[DATA - 0x2000 : DATA + SIZE] = rng.randbytes(SIZE + 0x2000)
    expected = bytearray(ram[0 : 1 << 20])
    if backwards:
        source, target = source + count - 1, target + count - 1
    step = -1 if backwards else 1
    for n in range(count):
        expected[target + n * step] = expected[source + n * step]
    start(cpu, ram, REP_MOVSB, rcx=count, rsi=source, rdi=target, backwards=backwards)
    expected[CODE : CODE + 3] = bytes.fromhex(REP_MOVSB) + b"\xf4"
    assert run_in_pieces(cpu, seed) == count + 1
    assert bytes(ram[DATA - 0x2000 : DATA + SIZE]) == bytes(expected[DATA - 0x2000 : DATA + SIZE])
    assert (cpu.regs.rcx, cpu.regs.rsi, cpu.regs.rdi) == (0, source + count * step, target + count * step)


def test_a_budget_stops_within_a_repeat(machine: tuple[VCpu, bytearray]) -> None:
    """RIP stays on the instruction, and what is done is counted in RCX, RSI and RDI."""
    cpu, ram = machine
    start(cpu, ram, REP_MOVSB, rcx=10000, rsi=DATA, rdi=DATA + 0x8000)
    assert cpu.run(budget=6123) == BudgetSpent()
    assert (cpu.regs.rip, cpu.regs.rcx, cpu.regs.rsi, cpu.regs.rdi) == (
        CODE,
        10000 - 6123,
        DATA + 6123,
        DATA + 0x8000 + 6123,
    )


@pytest.mark.parametrize("seed", range(6))
def test_stosd_fills(machine: tuple[VCpu, bytearray], seed: int) -> None:
    cpu, ram = machine
    count, target = random.Random(seed).randrange(1, 9000), DATA + seed * 3
    ram[DATA : DATA + SIZE] = bytes(SIZE)
    start(cpu, ram, REP_STOSD, rcx=count, rsi=0, rdi=target, rax=0x1_2345_6789)
    assert run_in_pieces(cpu, seed) == count + 1
    assert bytes(ram[target : target + 4 * count]) == (0x23456789).to_bytes(4, "little") * count
    assert not any(ram[target + 4 * count : target + 4 * count + 64])


@pytest.mark.parametrize("seed", range(6))
def test_lodsq_keeps_the_last(machine: tuple[VCpu, bytearray], seed: int) -> None:
    cpu, ram = machine
    rng = random.Random(seed)
    count, source = rng.randrange(1, 4000), DATA + seed
    ram[DATA : DATA + SIZE] = rng.randbytes(SIZE)
    start(cpu, ram, REP_LODSQ, rcx=count, rsi=source, rdi=0)
    assert run_in_pieces(cpu, seed) == count + 1
    assert cpu.regs.rax == int.from_bytes(ram[source + 8 * (count - 1) : source + 8 * count], "little")


@pytest.mark.parametrize("seed", range(6))
def test_scasb_stops_behind_the_byte(machine: tuple[VCpu, bytearray], seed: int) -> None:
    cpu, ram = machine
    at = random.Random(seed).randrange(1, 30000)
    ram[DATA : DATA + SIZE] = b"\x55" * SIZE
    ram[DATA + at] = 0x7F
    start(cpu, ram, REPNE_SCASB, rcx=SIZE, rsi=0, rdi=DATA, rax=0x7F)
    assert run_in_pieces(cpu, seed) == at + 2
    assert (cpu.regs.rdi, cpu.regs.rcx, cpu.regs.rflags & 0x40) == (DATA + at + 1, SIZE - at - 1, 0x40)


@pytest.mark.parametrize("seed", range(6))
def test_cmpsw_stops_behind_the_difference(machine: tuple[VCpu, bytearray], seed: int) -> None:
    cpu, ram = machine
    at = random.Random(seed).randrange(1, 9000)
    ram[DATA : DATA + SIZE] = b"\x33" * SIZE
    other = DATA + 0x20001
    ram[other + 2 * at] = 0x34
    start(cpu, ram, REPE_CMPSW, rcx=20000, rsi=DATA, rdi=other)
    assert run_in_pieces(cpu, seed) == at + 2
    assert (cpu.regs.rsi, cpu.regs.rcx) == (DATA + 2 * (at + 1), 20000 - at - 1)
    assert cpu.regs.rflags & 0x41 == 0x01  # below, not equal
