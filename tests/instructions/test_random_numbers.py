"""RDRAND and RDSEED: numbers of the host's, or those that follow from the count of instructions."""

from __future__ import annotations

import pytest

from pyhv import Halted, VirtualMachine

RDRAND_RDSEED = "480fc7f0 480fc7fb 480fc7f1 660fc7f2 f4"  # rdrand rax; rdseed rbx; rdrand rcx; rdrand dx; hlt
CF, OTHERS = 1, 0x8D4


def drawn(ns_per_instruction: float, count: int = 1) -> list[int]:
    with VirtualMachine("soft", ns_per_instruction=ns_per_instruction) as vm:
        vm.map(at=0, size=0x10000)
        vm.write(0x2000, (0x3003).to_bytes(8, "little"))
        vm.write(0x3000, (0x83).to_bytes(8, "little"))
        vm.write(0x1000, bytes.fromhex(RDRAND_RDSEED))
        found = []
        with vm.vcpu() as cpu:
            cpu.enter_long(0x2000)
            for _ in range(count):
                cpu.regs.rip, cpu.regs.rdx, cpu.regs.rflags = 0x1000, 0xAAAA_0000, 2 | OTHERS
                assert cpu.run() == Halted()
                assert cpu.regs.rflags & (CF | OTHERS) == CF
                assert cpu.regs.rdx >> 16 == 0xAAAA
                found += [cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx]
        return found


@pytest.mark.judges("RDRAND rv", "RDSEED rv")
def test_numbers_differ() -> None:
    numbers = drawn(0, 50)
    assert len(set(numbers)) == len(numbers)
    assert all(number >> 32 for number in numbers[:3] + numbers[-3:]) or max(numbers) >> 60


@pytest.mark.parametrize("pace", [1.0, 0.5])
def test_a_deterministic_machine_repeats_them(pace: float) -> None:
    first = drawn(pace, 20)
    assert len(set(first)) == len(first)
    assert drawn(pace, 20) == first
    assert drawn(0, 20) != first
