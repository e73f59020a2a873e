"""What an MMX instruction does to the x87 unit, when it must not run, and its way to memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pyhv import Exception as ExceptionExit
from pyhv import Halted, MmioLoad, MmioStore, VCpu, VirtualMachine

UD, NM, MF = 6, 7, 16
EM, TS, NE, PE_ET = 1 << 2, 1 << 3, 1 << 5, 0x11
OSFXSR = 1 << 9
DATA, DEVICE = 0x2000, 0x1000_0000

MOVQ_LOAD, MOVQ_STORE, PADDB, PSHUFB = "0f6f0d", "0f7f0d", "0ffc0d", "0f38000d"  # MM1 and memory
EMMS, PMOVMSKB, MOVQ2DQ, MOVDQ2Q = "0f77", "0fd7c1", "f30fd6c1", "f20fd6c9"
MASKMOVQ = "0ff7ca"  # MM1 by MM2
BY_ADDRESS = (MOVQ_LOAD, MOVQ_STORE, PADDB, PSHUFB)
ALL = (*BY_ADDRESS, EMMS, PMOVMSKB, MOVQ2DQ, MOVDQ2Q, MASKMOVQ)


@pytest.fixture
def cpu() -> Iterator[VCpu]:
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=0x10000)
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            cpu.regs.cr4 = OSFXSR
            cpu.regs.cr0 = PE_ET | NE
            cpu.regs.rdi = DATA
            cpu.controls.exception_bitmap = 1 << UD | 1 << NM | 1 << MF
            ram[DATA : DATA + 8] = bytes(range(1, 9))
            yield cpu


def start(cpu: VCpu, opcode: str, address: int = DATA) -> object:
    where = address.to_bytes(4, "little") if opcode in BY_ADDRESS else b""
    cpu.vm.write(0x1000, bytes.fromhex(opcode) + where + b"\xf4")
    cpu.regs.rip = 0x1000
    stopped = cpu.run()
    return stopped.vector if isinstance(stopped, ExceptionExit) else stopped


def put_x87(cpu: VCpu, *, fsw: int, registers: list[int], tags: int, fcw: int = 0x37F) -> None:
    """`registers`: ten bytes each, by their own number, as MM0 … MM7 are; an image has them by the top of the stack."""
    image = bytearray(cpu.state.xsave)
    image[:2], image[2:4], image[4] = fcw.to_bytes(2, "little"), fsw.to_bytes(2, "little"), tags
    for n, value in enumerate(registers):
        place = 32 + 16 * ((n - (fsw >> 11)) & 7)
        image[place : place + 10] = value.to_bytes(10, "little")
    cpu.state = replace(cpu.state, xsave=bytes(image))


def x87(cpu: VCpu) -> tuple[int, list[int], int]:
    """FSW, the registers by their own number, the abridged tags."""
    image = cpu.state.xsave
    fsw = int.from_bytes(image[2:4], "little")
    places = [32 + 16 * ((n - (fsw >> 11)) & 7) for n in range(8)]
    return fsw, [int.from_bytes(image[place : place + 10], "little") for place in places], image[4]


NUMBERS = [0x4001_1111_1111_1111_1110 + n for n in range(8)]
FSW = 5 << 11 | 0x4500  # TOP 5, some condition codes
PENDING = 0x8081  # an invalid operation, with the summary and busy bits that it sets where it is not masked


@pytest.mark.parametrize("opcode", ALL)
def test_who_gets_ud_nm_and_mf(cpu: VCpu, opcode: str) -> None:
    """SDM vol. 3, "Exception Conditions of Legacy SIMD Instructions Operating on MMX Registers". OSFXSR is for XMM."""
    uses_xmm = opcode in (MOVQ2DQ, MOVDQ2Q)
    for cr0, cr4, stop in (
        (0, OSFXSR, Halted()),
        (0, 0, UD if uses_xmm else Halted()),
        (EM, OSFXSR, UD),
        (TS, OSFXSR, NM),
        (EM | TS, OSFXSR, UD),
    ):
        cpu.regs.cr0, cpu.regs.cr4 = PE_ET | NE | cr0, cr4
        assert start(cpu, opcode) == stop, (cr0, cr4)
    cpu.regs.cr0, cpu.regs.cr4 = PE_ET | NE, OSFXSR
    put_x87(cpu, fsw=FSW | PENDING, registers=NUMBERS, tags=0xE0, fcw=0x37E)
    cpu.vm.write(DATA, bytes(range(1, 9)))
    assert start(cpu, opcode) == MF
    assert x87(cpu) == (FSW | PENDING, NUMBERS, 0xE0)
    assert cpu.vm.read(DATA, 8) == bytes(range(1, 9))


@pytest.mark.parametrize("opcode", ALL)
def test_effects_on_the_x87_unit(cpu: VCpu, opcode: str) -> None:
    """SDM vol. 3, "Effects of MMX Instructions on x87 FPU State": TOP 0, all valid, ones above what is written."""
    put_x87(cpu, fsw=FSW, registers=NUMBERS, tags=0xE0)
    assert start(cpu, opcode) == Halted()
    fsw, registers, tags = x87(cpu)
    assert (fsw, tags) == (0x4500, 0 if opcode == EMMS else 0xFF)
    written = opcode in (MOVQ_LOAD, PADDB, PSHUFB, MOVDQ2Q)
    assert registers[1] >> 64 == (0xFFFF if written else 0x4001)
    assert registers[:1] + registers[2:] == NUMBERS[:1] + NUMBERS[2:]


def test_a_device_answers_before_anything_happens(cpu: VCpu) -> None:
    put_x87(cpu, fsw=FSW, registers=NUMBERS, tags=0xE0)
    assert start(cpu, PADDB, DEVICE) == MmioLoad(gpa=DEVICE, size_bytes=8)
    assert x87(cpu) == (FSW, NUMBERS, 0xE0)
    cpu.answer(0x0101_0101_0101_0101)
    assert cpu.run() == Halted()
    assert x87(cpu)[1][1] == 0xFFFF_1212_1212_1212_1212


def test_the_narrow_operand_of_punpckl(cpu: VCpu) -> None:
    """SDM vol. 2, "PUNPCKLBW…": mm, mm/m32, but PUNPCKHBW reads all 64 bits."""
    put_x87(cpu, fsw=0, registers=[0, 0x8877_6655_4433_2211, *[0] * 6], tags=0)
    cpu.vm.write(0x1000, bytes.fromhex("0f600d") + DEVICE.to_bytes(4, "little") + b"\xf4")
    cpu.regs.rip = 0x1000
    assert cpu.run() == MmioLoad(gpa=DEVICE, size_bytes=4)
    cpu.answer(0xD4C3B2A1)
    assert cpu.run() == Halted()
    assert x87(cpu)[1][1] == 0xFFFF_D444_C333_B222_A111
    cpu.vm.write(0x1000, bytes.fromhex("0f680d") + DEVICE.to_bytes(4, "little") + b"\xf4")
    cpu.regs.rip = 0x1000
    assert cpu.run() == MmioLoad(gpa=DEVICE, size_bytes=8)
    cpu.answer(0x0403_0201_0000_0000)
    assert cpu.run() == Halted()
    assert x87(cpu)[1][1] == 0xFFFF_04D4_0344_02C3_0133


def test_maskmovq_writes_what_is_selected(cpu: VCpu) -> None:
    mask = 0x80_00_FF_7F_00_00_80_01
    put_x87(cpu, fsw=0, registers=[0, 0x8877_6655_4433_2211, mask, *[0] * 5], tags=0)
    assert start(cpu, MASKMOVQ) == Halted()
    assert cpu.vm.read(DATA, 8) == bytes.fromhex("01 22 03 04 05 66 07 88")
    cpu.regs.rdi = DEVICE
    assert start(cpu, MASKMOVQ) == MmioStore(gpa=DEVICE + 1, size_bytes=1, value=0x22)
    assert cpu.run() == MmioStore(gpa=DEVICE + 5, size_bytes=1, value=0x66)
    assert cpu.run() == MmioStore(gpa=DEVICE + 7, size_bytes=1, value=0x88)
    assert cpu.run() == Halted()
    put_x87(cpu, fsw=0, registers=[0, 0x8877_6655_4433_2211, (1 << 64) - 1, *[0] * 5], tags=0)
    assert start(cpu, MASKMOVQ) == MmioStore(gpa=DEVICE, size_bytes=8, value=0x8877_6655_4433_2211)
    assert cpu.run() == Halted()
