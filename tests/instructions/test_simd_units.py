"""The XMM registers' way in and out: units that are off, alignment, page edges, devices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyhv import Exception as ExceptionExit
from pyhv import Halted, MmioLoad, MmioStore, VCpu, VirtualMachine

UD, NM, GP, PF = 6, 7, 13, 14
EM, TS, PE_ET = 1 << 2, 1 << 3, 0x11
OSFXSR = 1 << 9
DATA, DEVICE = 0x2000, 0x1000_0000
PADDD, MOVAPS_LOAD, MOVDQU_LOAD, MOVDQU_STORE = "660ffe05", "0f2805", "f30f6f05", "f30f7f05"
XMM0 = slice(160, 176)


@pytest.fixture
def cpu() -> Iterator[VCpu]:
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=0x10000)
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            cpu.regs.cr4 = OSFXSR
            cpu.controls.exception_bitmap = 1 << UD | 1 << NM | 1 << GP | 1 << PF
            ram[DATA : DATA + 32] = bytes(range(32))
            yield cpu


def run(cpu: VCpu, opcode: str, address: int) -> object:
    code = bytes.fromhex(opcode) + address.to_bytes(4, "little") + b"\xf4"
    cpu.vm.write(0x1000, code)
    cpu.regs.rip = 0x1000
    stopped = cpu.run()
    return stopped.vector if isinstance(stopped, ExceptionExit) else stopped


@pytest.mark.parametrize("opcode", [PADDD, MOVAPS_LOAD, MOVDQU_STORE])
def test_who_gets_ud_and_nm(cpu: VCpu, opcode: str) -> None:
    """SDM vol. 3, "Providing Operating System Support for SSE": EM or no OSFXSR is #UD, before the #NM of TS."""
    expected = {
        (0, OSFXSR): Halted(),
        (EM, OSFXSR): UD,
        (0, 0): UD,
        (TS, OSFXSR): NM,
        (TS, 0): UD,
        (EM | TS, OSFXSR): UD,
    }
    for _ in range(2):  # the second time from blocks that are decoded already
        for (cr0, cr4), stop in expected.items():
            cpu.regs.cr0, cpu.regs.cr4 = PE_ET | cr0, cr4
            assert run(cpu, opcode, DATA) == stop, (cr0, cr4)


@pytest.mark.judges("CLTS")
def test_clts_turns_the_unit_on(cpu: VCpu) -> None:
    cpu.regs.cr0 = PE_ET | TS
    assert run(cpu, "0f06" + MOVDQU_LOAD, DATA) == Halted()
    assert cpu.state.xsave[XMM0] == bytes(range(16))


def test_aligned_operands(cpu: VCpu) -> None:
    """SDM vol. 2A, "Exceptions Type 4": an operand that is not aligned is #GP(0)."""
    assert run(cpu, MOVAPS_LOAD, DATA + 1) == GP
    assert run(cpu, PADDD, DATA + 8) == GP
    assert run(cpu, MOVDQU_LOAD, DATA + 1) == Halted()
    assert cpu.state.xsave[XMM0] == bytes(range(1, 17))
    assert run(cpu, MOVAPS_LOAD, DATA + 16) == Halted()
    assert cpu.state.xsave[XMM0] == bytes(range(16, 32))


@pytest.mark.parametrize("address", [DATA + 0x1000 - n for n in range(17)])
def test_over_a_page_edge(cpu: VCpu, address: int) -> None:
    assert run(cpu, MOVDQU_LOAD, DATA) == Halted()
    assert run(cpu, MOVDQU_STORE, address) == Halted()
    assert cpu.vm.read(address, 16) == bytes(range(16))
    assert run(cpu, MOVDQU_LOAD, address) == Halted()
    assert cpu.state.xsave[XMM0] == bytes(range(16))


def test_a_device_sees_two_pieces(cpu: VCpu) -> None:
    assert run(cpu, MOVDQU_LOAD, DATA) == Halted()
    low, high = (int.from_bytes(bytes(range(n, n + 8)), "little") for n in (0, 8))
    assert run(cpu, MOVDQU_STORE, DEVICE) == MmioStore(gpa=DEVICE, size_bytes=8, value=low)
    assert cpu.run() == MmioStore(gpa=DEVICE + 8, size_bytes=8, value=high)
    assert cpu.run() == Halted()
    assert run(cpu, MOVDQU_LOAD, DEVICE) == MmioLoad(gpa=DEVICE, size_bytes=8)
    cpu.answer(high)
    assert cpu.run() == MmioLoad(gpa=DEVICE + 8, size_bytes=8)
    assert cpu.state.xsave[XMM0] == bytes(range(16))  # nothing has happened yet
    cpu.answer(low)
    assert cpu.run() == Halted()
    assert cpu.state.xsave[XMM0] == bytes(range(8, 16)) + bytes(range(8))
