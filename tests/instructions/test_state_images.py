"""FXSAVE, XSAVE and their kind: layouts, what the header says, what is refused.

SDM vol. 1, "Managing State Using the XSAVE Feature Set".
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyhv import Exception as ExceptionExit
from pyhv import Halted, MmioStore, VCpu, VirtualMachine

UD, NM, GP = 6, 7, 13
EM, TS, PE_ET = 1 << 2, 1 << 3, 0x11
OSFXSR, OSXSAVE = 1 << 9, 1 << 18
AREA, CODE, RAM_BYTES = 0x4000, 0x1000, 0x10000
FXSAVE, FXRSTOR, LOAD_XMM1 = "0fae05", "0fae0d", "0f100d"
XSAVE, XRSTOR, XSAVEOPT, XSAVEC = "0fae25", "0fae2d", "0fae35", "0fc725"
XGETBV, XSETBV, CPUID = "0f01d0", "0f01d1", "0fa2"
IN_USE, FORMAT, COMPACT = slice(512, 520), slice(520, 528), 1 << 63
XMM1 = slice(176, 192)
FILL = b"\xa5"


@pytest.fixture
def cpu() -> Iterator[VCpu]:
    with VirtualMachine("soft") as vm:
        vm.map(at=0, size=RAM_BYTES)
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            cpu.regs.cr4 = OSFXSR | OSXSAVE
            cpu.regs.xcr0 = 3
            cpu.controls.exception_bitmap = 1 << UD | 1 << NM | 1 << GP
            vm.write(AREA, FILL * 0x400)
            yield cpu


def run(cpu: VCpu, opcode: str, address: int | None = None) -> object:
    operand = b"" if address is None else address.to_bytes(4, "little")
    cpu.vm.write(CODE, bytes.fromhex(opcode) + operand + b"\xf4")
    cpu.regs.rip = CODE
    stopped = cpu.run()
    return stopped.vector if isinstance(stopped, ExceptionExit) else stopped


def wanting(cpu: VCpu, components: int, opcode: str) -> object:
    cpu.regs.rax, cpu.regs.rdx = components, 0xFFFF_FFFF
    return run(cpu, opcode, AREA)


def image(cpu: VCpu) -> bytes:
    return cpu.vm.read(AREA, 576)


def word(data: bytes) -> int:
    return int.from_bytes(data, "little")


def set_xmm1(cpu: VCpu) -> None:
    cpu.vm.write(0x3000, bytes(range(16)))
    assert run(cpu, LOAD_XMM1, 0x3000) == Halted()


def put(cpu: VCpu, part: slice, value: int) -> None:
    cpu.vm.write(AREA + part.start, value.to_bytes(part.stop - part.start, "little"))


def test_fxsave_outside_64_bit_code_leaves_the_upper_registers(cpu: VCpu) -> None:
    set_xmm1(cpu)
    assert run(cpu, FXSAVE, AREA) == Halted()
    saved = image(cpu)
    assert saved[:32] == bytes.fromhex("7f03") + bytes(22) + bytes.fromhex("801f0000ffff0000")
    assert saved[XMM1] == bytes(range(16))
    assert saved[288:] == FILL * (576 - 288)


def test_fxrstor_brings_it_back(cpu: VCpu) -> None:
    set_xmm1(cpu)
    assert run(cpu, FXSAVE, AREA) == Halted()
    before = cpu.state.xsave[:512]
    cpu.vm.write(AREA + XMM1.start, bytes(16))
    assert run(cpu, FXRSTOR, AREA) == Halted()
    assert cpu.state.xsave[XMM1] == bytes(16)
    cpu.vm.write(AREA, before)
    assert run(cpu, FXRSTOR, AREA) == Halted()
    assert cpu.state.xsave[:512] == before


def test_fxrstor_refuses_reserved_mxcsr(cpu: VCpu) -> None:
    assert run(cpu, FXSAVE, AREA) == Halted()
    before = cpu.state.xsave
    put(cpu, slice(24, 28), 0x1_1F80)
    assert run(cpu, FXRSTOR, AREA) == GP
    assert cpu.state.xsave == before


@pytest.mark.parametrize("opcode", [FXSAVE, FXRSTOR])
def test_fx_alignment_and_units(cpu: VCpu, opcode: str) -> None:
    assert run(cpu, opcode, AREA + 8) == GP
    for bit in (EM, TS):
        cpu.regs.cr0 = PE_ET | bit
        assert run(cpu, opcode, AREA) == NM


@pytest.mark.parametrize("opcode", [XSAVE, XRSTOR, XSAVEOPT, XSAVEC])
def test_xsave_needs_osxsave_and_alignment(cpu: VCpu, opcode: str) -> None:
    assert run(cpu, opcode, AREA + 16) == GP
    cpu.regs.cr0 = PE_ET | TS
    assert run(cpu, opcode, AREA) == NM
    cpu.regs.cr4 = OSFXSR
    assert run(cpu, opcode, AREA) == UD


def test_xsave_keeps_what_the_header_says_of_others(cpu: VCpu) -> None:
    set_xmm1(cpu)
    put(cpu, IN_USE, 0x8000_0000_0000_0101)
    assert wanting(cpu, 3, XSAVE) == Halted()
    saved = image(cpu)
    assert word(saved[IN_USE]) == 0x8000_0000_0000_0102  # x87 is in its initial state
    assert saved[XMM1] == bytes(range(16))
    assert saved[520:] == FILL * 56


def test_xsave_of_one_component(cpu: VCpu) -> None:
    set_xmm1(cpu)
    assert wanting(cpu, 1, XSAVE) == Halted()
    saved = image(cpu)
    assert saved[:24] == bytes.fromhex("7f03") + bytes(22)
    assert saved[24:32] == FILL * 8
    assert saved[160:512] == FILL * 352


def test_xsaveopt_leaves_out_what_is_not_in_use(cpu: VCpu) -> None:
    put(cpu, IN_USE, 3)
    assert wanting(cpu, 3, XSAVEOPT) == Halted()
    saved = image(cpu)
    assert word(saved[IN_USE]) == 0
    assert saved[:24] == FILL * 24
    assert saved[24:32] == bytes.fromhex("801f0000ffff0000")
    assert saved[32:512] == FILL * 480


def test_xsavec_writes_its_format(cpu: VCpu) -> None:
    set_xmm1(cpu)
    assert wanting(cpu, 3, XSAVEC) == Halted()
    saved = image(cpu)
    assert (word(saved[IN_USE]), word(saved[FORMAT])) == (2, 3 | COMPACT)
    assert saved[:24] == FILL * 24
    assert saved[528:] == FILL * 48


def test_xrstor_makes_the_rest_initial(cpu: VCpu) -> None:
    set_xmm1(cpu)
    cpu.vm.write(AREA, bytes(576))
    put(cpu, slice(24, 28), 0x1F00)
    assert wanting(cpu, 2, XRSTOR) == Halted()
    assert cpu.state.xsave[XMM1] == bytes(16)
    assert word(cpu.state.xsave[24:28]) == 0x1F00  # the standard form brings MXCSR whatever the header says
    set_xmm1(cpu)
    put(cpu, FORMAT, 3 | COMPACT)
    assert wanting(cpu, 2, XRSTOR) == Halted()
    assert cpu.state.xsave[XMM1] == bytes(16)
    assert word(cpu.state.xsave[24:28]) == 0x1F80


def test_xrstor_takes_what_xsave_wrote(cpu: VCpu) -> None:
    set_xmm1(cpu)
    for save in (XSAVE, XSAVEC):
        cpu.vm.write(AREA, bytes(576))
        before = cpu.state.xsave
        assert wanting(cpu, 3, save) == Halted()
        cpu.vm.write(0x3000, bytes(16))
        assert run(cpu, LOAD_XMM1, 0x3000) == Halted()
        assert wanting(cpu, 3, XRSTOR) == Halted()
        assert cpu.state.xsave == before


@pytest.mark.parametrize(
    ("in_use", "form", "other"),
    [(4, 0, 0), (0, 1, 0), (0, 0, 1), (0, 4 | COMPACT, 0), (2, 1 | COMPACT, 0), (0, 3 | COMPACT, 1)],
)
def test_xrstor_refuses_headers(cpu: VCpu, in_use: int, form: int, other: int) -> None:
    set_xmm1(cpu)
    before = cpu.state.xsave
    cpu.vm.write(AREA, bytes(576))
    put(cpu, IN_USE, in_use)
    put(cpu, FORMAT, form)
    put(cpu, slice(528, 536), other)
    assert wanting(cpu, 3, XRSTOR) == GP
    assert cpu.state.xsave == before


def test_xrstor_refuses_reserved_mxcsr(cpu: VCpu) -> None:
    cpu.vm.write(AREA, bytes(576))
    put(cpu, slice(24, 28), 1 << 16)
    assert wanting(cpu, 2, XRSTOR) == GP
    assert wanting(cpu, 1, XRSTOR) == Halted()  # without SSE it is not looked at


@pytest.mark.judges("XSETBV")
@pytest.mark.parametrize(
    ("value", "refused"), [(0, True), (1, False), (2, True), (3, False), (7, True), (1 << 62 | 3, True)]
)
def test_xcr0_holds_x87_and_sse(cpu: VCpu, value: int, refused: bool) -> None:
    cpu.regs.rax, cpu.regs.rdx, cpu.regs.rcx = value & 0xFFFF_FFFF, value >> 32, 0
    assert run(cpu, XSETBV) == (GP if refused else Halted())
    assert cpu.regs.xcr0 == (3 if refused else value)


@pytest.mark.judges("XGETBV")
def test_xgetbv_of_what_is_in_use(cpu: VCpu) -> None:
    for rcx, expected in ((0, 3), (1, 2)):
        set_xmm1(cpu)
        cpu.regs.rcx = rcx
        assert run(cpu, XGETBV) == Halted()
        assert (cpu.regs.rax, cpu.regs.rdx) == (expected, 0)
    cpu.regs.rcx = 2
    assert run(cpu, XGETBV) == GP


def test_cpuid_shows_osxsave_and_the_sizes(cpu: VCpu) -> None:
    for cr4 in (OSFXSR, OSFXSR | OSXSAVE):
        cpu.regs.cr4, cpu.regs.rax, cpu.regs.rcx = cr4, 1, 0
        assert run(cpu, CPUID) == Halted()
        assert cpu.regs.rcx >> 26 & 3 == (3 if cr4 & OSXSAVE else 1)
    for subleaf, expected in ((0, (3, 576, 576, 0)), (1, (7, 576, 0, 0))):
        cpu.regs.rax, cpu.regs.rcx = 13, subleaf
        assert run(cpu, CPUID) == Halted()
        assert (cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx, cpu.regs.rdx) == expected


def test_an_area_that_reaches_into_a_device(cpu: VCpu) -> None:
    """Memory and device share it: each 8 bytes of the device's part are one store, in order."""
    set_xmm1(cpu)
    at = RAM_BYTES - 160
    stopped, stores = run(cpu, FXSAVE, at), []
    while isinstance(stopped, MmioStore):
        stores.append(stopped)
        stopped = cpu.run()
    assert stopped == Halted()
    assert [store.gpa for store in stores] == [RAM_BYTES + n for n in range(0, 128, 8)]
    assert b"".join(store.value.to_bytes(8, "little") for store in stores)[16:32] == bytes(range(16))
    assert cpu.vm.read(at, 2) == bytes.fromhex("7f03")
