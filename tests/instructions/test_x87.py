"""FNINIT and FWAIT, which programs execute before they know whether there is an x87 unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pyhv import Exception as ExceptionExit
from pyhv import Halted, VCpu, VirtualMachine

FNINIT, FWAIT = "dbe3", "9b"
MP, EM, TS, NE = 1 << 1, 1 << 2, 1 << 3, 1 << 5
PE_ET = 0x11
NM, MF = 7, 16
FRESH = bytes.fromhex("7f03") + bytes(22)


@pytest.fixture
def cpu() -> Iterator[VCpu]:
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=0x10000)
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            cpu.controls.exception_bitmap = 1 << NM | 1 << MF
            ram[0x1000:0x2000] = b"\xf4" * 0x1000
            yield cpu


def run(cpu: VCpu, code: str, cr0: int) -> object:
    cpu.vm.write(0x1000, bytes.fromhex(code).ljust(8, b"\xf4"))
    cpu.regs.rip, cpu.regs.cr0 = 0x1000, cr0
    stopped = cpu.run()
    return stopped.vector if isinstance(stopped, ExceptionExit) else stopped


@pytest.mark.parametrize("cr0", [combination | PE_ET for combination in (0, MP, EM, TS, NE, MP | EM, MP | TS, EM | TS)])
def test_who_gets_nm(cpu: VCpu, cr0: int) -> None:
    """SDM vol. 2, "FINIT/FNINIT", "WAIT/FWAIT", exceptions: EM or TS; MP and TS."""
    assert run(cpu, FNINIT, cr0) == (NM if cr0 & (EM | TS) else Halted())
    assert run(cpu, FWAIT, cr0) == (NM if cr0 & MP and cr0 & TS else Halted())


def test_fninit_sets_the_unit_and_leaves_the_registers(cpu: VCpu) -> None:
    state = cpu.state
    register = b"\xa5" * 10 + bytes(6)
    cpu.state = replace(state, xsave=b"\xa5" * 24 + state.xsave[24:32] + register + state.xsave[48:])
    assert run(cpu, FNINIT, PE_ET) == Halted()
    after = cpu.state.xsave
    assert after[:24] == FRESH
    assert after[24:32] == state.xsave[24:32]
    top = 0xA5A5 >> 11 & 7  # ST(0) was this register; TOP is 0 now
    assert after[32 + 16 * top :][:16] == register


def test_fwait_raises_what_is_pending(cpu: VCpu) -> None:
    state = cpu.state
    cpu.state = replace(state, xsave=b"\x7e\x03\x01\x00" + state.xsave[4:])
    assert run(cpu, FWAIT, PE_ET | NE) == MF
    assert run(cpu, FWAIT, PE_ET) == Halted()
    assert run(cpu, FNINIT + FWAIT, PE_ET | NE) == Halted()
