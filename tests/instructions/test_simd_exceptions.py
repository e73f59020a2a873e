"""SIMD floating-point exceptions as a guest's kernel meets them: what the bare host's user programs cannot show."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from pyhv import Exception as ExceptionExit
from pyhv import Halted, MmioLoad, VCpu, VirtualMachine

UD, PF, XM = 6, 14, 19
OSFXSR, OSXMMEXCPT = 1 << 9, 1 << 10
DATA, DEVICE, CODE = 0x2000, 0x1000_0000, 0x1000
ALL_MASKED, ZERO_DIVIDE = 0x1F80, 1 << 2
LDMXCSR, STMXCSR, DIVSD, ADDSD, MOVUPS, DIVPS_XMM1 = "0fae15", "0fae1d", "f20f5e05", "f20f5805", "0f1005", "0f5ec1"
XMM0, MXCSR = slice(160, 176), slice(24, 28)


@pytest.fixture
def cpu() -> Iterator[VCpu]:
    with VirtualMachine("soft") as vm:
        vm.map(at=0, size=0x10000)
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            cpu.regs.cr4 = OSFXSR | OSXMMEXCPT
            cpu.controls.exception_bitmap = 1 << UD | 1 << PF | 1 << XM
            vm.write(DATA, struct.pack("<dddd", 1.0, 2.0, 0.0, 3.0))
            yield cpu


def run(cpu: VCpu, *code: str | int, mxcsr: int = ALL_MASKED) -> object:
    """Runs the instructions (an int is an address) with this MXCSR; the vector of an exception, or the exit."""
    cpu.vm.write(DATA + 0x100, mxcsr.to_bytes(4, "little"))
    parts = (LDMXCSR, DATA + 0x100, *code)
    program = b"".join(p.to_bytes(4, "little") if isinstance(p, int) else bytes.fromhex(p) for p in parts)
    cpu.vm.write(CODE, program + b"\xf4")
    cpu.regs.rip = CODE
    stopped = cpu.run()
    return stopped.vector if isinstance(stopped, ExceptionExit) else stopped


def doubles(cpu: VCpu) -> tuple[float, float]:
    low, high = struct.unpack("<dd", cpu.state.xsave[XMM0])
    return low, high


def mxcsr(cpu: VCpu) -> int:
    return int.from_bytes(cpu.state.xsave[MXCSR], "little")


def test_masked_it_is_a_flag_and_a_result(cpu: VCpu) -> None:
    assert run(cpu, MOVUPS, DATA, DIVSD, DATA + 16) == Halted()
    assert doubles(cpu) == (float("inf"), 2.0)
    assert mxcsr(cpu) == ALL_MASKED | ZERO_DIVIDE
    assert run(cpu, STMXCSR, DATA + 0x80, mxcsr=mxcsr(cpu)) == Halted()
    assert int.from_bytes(cpu.vm.read(DATA + 0x80, 4), "little") == ALL_MASKED | ZERO_DIVIDE


@pytest.mark.parametrize(("cr4", "vector"), [(OSFXSR | OSXMMEXCPT, XM), (OSFXSR, UD)])
def test_unmasked_it_is_xm_or_ud(cpu: VCpu, cr4: int, vector: int) -> None:
    """SDM vol. 3, "SIMD Floating-Point Exception (#XM)": #UD without OSXMMEXCPT; no result, but the flag."""
    cpu.regs.cr4 = cr4
    unmasked = ALL_MASKED & ~(ZERO_DIVIDE << 7)
    assert run(cpu, MOVUPS, DATA, DIVSD, DATA + 16, mxcsr=unmasked) == vector
    assert doubles(cpu) == (1.0, 2.0)
    assert mxcsr(cpu) == unmasked | ZERO_DIVIDE
    assert cpu.regs.rip == CODE + 7 + 7


def test_flags_of_before_do_not_trap(cpu: VCpu) -> None:
    """SDM vol. 1, "MXCSR Control and Status Register": only an operation raises; a flag that stands does not."""
    unmasked = ALL_MASKED & ~(ZERO_DIVIDE << 7) | ZERO_DIVIDE
    assert run(cpu, MOVUPS, DATA, DIVSD, DATA + 24, mxcsr=unmasked) == Halted()
    assert doubles(cpu) == (1 / 3, 2.0)
    assert mxcsr(cpu) == unmasked | 1 << 5


def test_an_operand_that_faults_comes_first(cpu: VCpu) -> None:
    """The load of the operand waits for a device: no flag, no result, before its answer is there."""
    assert run(cpu, MOVUPS, DATA, DIVSD, DEVICE) == MmioLoad(gpa=DEVICE, size_bytes=8)
    assert (doubles(cpu), mxcsr(cpu)) == ((1.0, 2.0), ALL_MASKED)
    cpu.answer(0)
    assert cpu.run() == Halted()
    assert (doubles(cpu), mxcsr(cpu)) == ((float("inf"), 2.0), ALL_MASKED | ZERO_DIVIDE)


def test_the_host_keeps_its_own_rounding(cpu: VCpu) -> None:
    """The guest's MXCSR is the host's only while the guest runs."""
    third = 1.0 / 3.0
    for rounding in range(4):
        assert run(cpu, MOVUPS, DATA, DIVSD, DATA + 24, mxcsr=ALL_MASKED | rounding << 13) == Halted()
        one, three = struct.unpack("<dd", struct.pack("<dd", 1.0, 3.0))
        assert one / three == third
        assert doubles(cpu)[0] == (third if rounding != 2 else 0.33333333333333337)


def test_reserved_bits_of_mxcsr(cpu: VCpu) -> None:
    cpu.controls.exception_bitmap = 1 << 13
    assert run(cpu, mxcsr=1 << 16) == 13
    assert mxcsr(cpu) == ALL_MASKED
