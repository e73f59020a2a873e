"""The MSRs by which a guest learns that nothing is speculated here, so that it need not defend itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyhv import Exception as ExceptionExit
from pyhv import Halted, VCpu, VirtualMachine

SPEC_CTRL, PRED_CMD, ARCH_CAPABILITIES = 0x48, 0x49, 0x10A
GP = 13
RDMSR, WRMSR, HLT = "0f32", "0f30", "f4"
# Intel SDM vol. 4, "IA32_ARCH_CAPABILITIES": RDCL_NO, IBRS_ALL, MDS_NO, TAA_NO, ITS_NO.
NO_MELTDOWN, IBRS_ALL, NO_MDS, NO_TAA, NO_ITS = 1 << 0, 1 << 1, 1 << 5, 1 << 8, 1 << 62


@pytest.fixture
def cpu() -> Iterator[VCpu]:
    with VirtualMachine("soft") as vm:
        vm.map(at=0, size=0x10000)
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            cpu.controls.exception_bitmap = 1 << GP
            yield cpu


def run(cpu: VCpu, code: str, msr: int, value: int = 0) -> object:
    cpu.vm.write(0x1000, bytes.fromhex(code + HLT))
    cpu.regs.rip, cpu.regs.rcx, cpu.regs.rax, cpu.regs.rdx = 0x1000, msr, value & 0xFFFF_FFFF, value >> 32
    return cpu.run()


def test_every_weakness_is_said_to_be_absent(cpu: VCpu) -> None:
    assert run(cpu, RDMSR, ARCH_CAPABILITIES) == Halted()
    value = cpu.regs.rdx << 32 | cpu.regs.rax
    for bit in (NO_MELTDOWN, IBRS_ALL, NO_MDS, NO_TAA, NO_ITS):
        assert value & bit, hex(bit)
    assert run(cpu, WRMSR, ARCH_CAPABILITIES, value) == ExceptionExit(GP, 0, None)
    leaf = next(leaf for leaf in cpu.cpuid if leaf.leaf == 7)
    assert leaf.edx >> 29 & 1


def test_speculation_can_be_controlled(cpu: VCpu) -> None:
    """SDM vol. 4, "IA32_SPEC_CTRL": IBRS, STIBP and SSBD; "IA32_PRED_CMD" is written only."""
    assert run(cpu, WRMSR, SPEC_CTRL, 7) == Halted()
    assert run(cpu, RDMSR, SPEC_CTRL) == Halted()
    assert (cpu.regs.rax, cpu.regs.rdx) == (7, 0)
    assert run(cpu, WRMSR, SPEC_CTRL, 8) == ExceptionExit(GP, 0, None)
    assert run(cpu, WRMSR, PRED_CMD, 1) == Halted()
    assert run(cpu, WRMSR, PRED_CMD, 2) == ExceptionExit(GP, 0, None)
    assert run(cpu, RDMSR, PRED_CMD) == ExceptionExit(GP, 0, None)


def test_the_control_moves_with_the_state(cpu: VCpu) -> None:
    assert run(cpu, WRMSR, SPEC_CTRL, 5) == Halted()
    with VirtualMachine("soft") as vm:
        vm.map(at=0, size=0x10000)
        with vm.vcpu() as other:
            other.state = cpu.state
            assert other.msrs[SPEC_CTRL] == 5
