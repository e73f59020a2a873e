"""Packed integers in XMM registers: known answers, alignment, page edges, devices, masked stores."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pyhv import Exception as ExceptionExit
from pyhv import Halted, Mapping, MmioLoad, MmioStore, VCpu, VirtualMachine
from pyhv.testing.guest import identity_tables

UD, GP, PF, AC = 6, 13, 14, 17
OSFXSR = 1 << 9
CF, ZF, SF, ARITHMETIC = 0x1, 0x40, 0x80, 0x8D5
CODE, DATA, TABLES = 0x1000, 0x2000, 0x8000
LARGE = 0x20_0000  # the second large page is a device, the third is absent
DEVICE = 0x1000_0000
ALL_BITS = (1 << 128) - 1

UD2 = "0f0b"

Machine = tuple[VCpu, Mapping]


@pytest.fixture
def machine() -> Iterator[Machine]:
    """64-bit code; memory up to `LARGE`, a device in the next 2 MiB, nothing behind it."""
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=LARGE)
        with vm.vcpu() as cpu:
            root = identity_tables(ram, TABLES)
            ram[TABLES + 0x2008 : TABLES + 0x2010] = struct.pack("<Q", DEVICE | 0x87)
            cpu.enter_long(root)
            cpu.regs.cr4 |= OSFXSR
            cpu.controls.exception_bitmap = 1 << UD | 1 << GP | 1 << PF | 1 << AC
            yield cpu, ram


def put_xmm(cpu: VCpu, *values: int) -> None:
    state = cpu.state
    image = b"".join(value.to_bytes(16, "little") for value in values)
    cpu.state = replace(state, xsave=state.xsave[:160] + image + state.xsave[160 + len(image) :])


def xmm(cpu: VCpu, number: int) -> int:
    return int.from_bytes(cpu.state.xsave[160 + 16 * number :][:16], "little")


def run(machine: Machine, code: str) -> object:
    cpu, ram = machine
    ram[CODE : CODE + 16] = bytes.fromhex(code).ljust(16, b"\xf4")
    cpu.regs.rip = CODE
    stopped = cpu.run()
    return stopped.vector if isinstance(stopped, ExceptionExit) else stopped


def skip_without_sha(code: str) -> None:
    """What the software CPU announces of SHA is what the host has."""
    if code.startswith("0f38c") and "sha_ni" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no SHA instructions")


def vector(text: str) -> int:
    """The value whose bytes in memory are written here."""
    return int.from_bytes(bytes.fromhex(text), "little")


# What SDM and FIPS 197 print: code, XMM0, XMM1, then XMM0.
KNOWN = {
    "aesenc, FIPS 197 appendix B, round 1": (
        "660f38dcc1",
        vector("193de3bea0f4e22b9ac68d2ae9f84808"),
        vector("a0fafe1788542cb123a339392a6c7605"),
        vector("a49c7ff2689f352b6b5bea43026a5049"),
    ),
    "aesenclast, FIPS 197 appendix B, round 10": (
        "660f38ddc1",
        vector("eb40f21e592e38848ba113e71bc342d2"),
        vector("d014f9a8c9ee2589e13f0cc8b6630ca6"),
        vector("3925841d02dc09fbdc118597196a0b32"),
    ),
    "aeskeygenassist of the key of FIPS 197 appendix A.1, round 1": (
        "660f3adfc101",
        0,
        vector("2b7e151628aed2a6abf7158809cf4f3c"),
        vector("34e4b524 e5b52434 018a84eb 8b84eb01"),
    ),
    "pclmulqdq of the upper and the lower quadword": ("660f3a44c101", 3 << 64 | 0xFFFF, 0xFFFF << 64 | 5, 15),
    "palignr beyond both operands": ("660f3a0fc120", ALL_BITS, ALL_BITS, 0),
    "palignr by 17": ("660f3a0fc111", ALL_BITS, 0, ALL_BITS >> 8),
    "psrldq by 16": ("660f73d810", ALL_BITS, 0, 0),
    "pslldq by 15": ("660f73f80f", 0x0102, 0, 0x02 << 120),
    "psllw by a count that is beyond 64 bits of zeros": ("660ff1c1", ALL_BITS, 1 << 64, ALL_BITS),
    "psraw by too much": ("660f71e0ff", 0x8000, 0, 0xFFFF),
    "phminposuw": (
        "660f3841c1",
        ALL_BITS,
        vector("0500 0300 0900 0200 0800 0200 0700 0600"),
        3 << 16 | 2,
    ),
    "pshufd reversing": ("660f70c11b", 0, vector("00000001 00000002 00000003 00000004"),
                         vector("00000004 00000003 00000002 00000001")),
    "pinsrb 16 is 0": ("660f3a20c010", ALL_BITS, 0, ALL_BITS & ~0xFF),
    "sha1msg1": ("0f38c9c1", 0x1 << 96 | 0x2 << 64 | 0x4 << 32 | 0x8, 0x10 << 96 | 0x20 << 64,
                 0x5 << 96 | 0xA << 64 | 0x14 << 32 | 0x28),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers(machine: Machine, name: str) -> None:
    code, first, second, expected = KNOWN[name]
    skip_without_sha(code)
    cpu, _ = machine
    put_xmm(cpu, first, second)
    cpu.regs.rax = 0
    assert run(machine, code) == Halted()
    assert xmm(cpu, 0) == expected, f"{xmm(cpu, 0):032x}, not {expected:032x}"


def test_crc32_of_the_check_string(machine: Machine) -> None:
    """CRC-32C of "123456789" is E3069283: eight bytes at once, then one."""
    cpu, _ = machine
    cpu.regs.rax, cpu.regs.rbx, cpu.regs.rcx = 0xFFFF_FFFF_FFFF_FFFF, int.from_bytes(b"12345678", "little"), ord("9")
    assert run(machine, "f2480f38f1c3 f20f38f0c1") == Halted()
    assert cpu.regs.rax == 0xE3069283 ^ 0xFFFF_FFFF


@pytest.mark.parametrize(
    ("rex", "length", "found"), [("", 1 << 32 | 5, False), ("48", 1 << 32 | 5, True), ("48", -5, False)]
)
def test_lengths_of_explicit_strings(machine: Machine, rex: str, length: int, found: bool) -> None:
    """PCMPESTRI, equal any: with REX.W the whole of RDX is the length, and its size counts."""
    cpu, _ = machine
    put_xmm(cpu, ord("x"), int.from_bytes(b"abcdefgx", "little"))
    cpu.regs.rax, cpu.regs.rdx = 1, length & (1 << 64) - 1
    assert run(machine, f"66{rex}0f3a61c100") == Halted()
    assert cpu.regs.rcx == (7 if found else 16)
    assert cpu.regs.rflags & ARITHMETIC == SF | (CF if found else ZF)


UNALIGNED = ("f20ff000", "f30f6f00", "660f3a630000", "660f3a610000", "660f3a620000", "660f3a600000")
ALIGNED = (
    "660ffc00", "660fef00", "660f7000e4", "660f3a0f0001", "660f382a00", "660fe700", "660f381700", "660f38dc00",
    "660f3a440000", "0f38cb00", "660f6f00", "660f7f00", "660ff100", "660f381000", "660f384100", "660f3adf0001",
)  # fmt: skip


@pytest.mark.parametrize("code", UNALIGNED + ALIGNED)
def test_alignment_of_operands(machine: Machine, code: str) -> None:
    """SDM vol. 2A, "Exceptions Type 4", and the footnotes to it: LDDQU, MOVDQU, PCMPxSTRx take any address."""
    cpu, _ = machine
    skip_without_sha(code)
    cpu.regs.rax = DATA + 16
    assert run(machine, code) == Halted()
    before = cpu.state.xsave
    cpu.regs.rax = DATA + 8
    assert run(machine, code) == (Halted() if code in UNALIGNED else GP)
    if code in ALIGNED:
        assert cpu.state.xsave == before


# Code, and the alignment that it wants of memory at RAX and RDI.
CHECKED = {
    "f30f6f00": 16,  # MOVDQU
    "f30f7f00": 16,
    "f20ff000": 16,  # LDDQU
    "660f3a630000": 16,  # PCMPISTRI
    "f30f7e00": 8,  # MOVQ
    "0f6f00": 8,
    "660f6e00": 4,  # MOVD
    "0f6000": 4,  # PUNPCKLBW of 64 bits
    "660f382200": 2,  # PMOVSXBQ
    "660fc40000": 2,  # PINSRW
    "660ff7c1": 8,  # MASKMOVDQU
    "0ff7c1": 8,  # MASKMOVQ
}


@pytest.mark.parametrize("code", CHECKED)
def test_alignment_checks_of_user_code(machine: Machine, code: str) -> None:
    """SDM vol. 3, "Alignment Check Exception (#AC)": of the access's width, by CR0.AM and EFLAGS.AC at CPL 3."""
    cpu, _ = machine
    for segment in (cpu.segments.cs, cpu.segments.ss):
        segment.selector |= 3
        segment.access_rights |= 3 << 5
    cpu.regs.cr0 |= 1 << 18
    for distance in (0, 1, 2, 4, 8, 16):
        cpu.regs.rax = cpu.regs.rdi = DATA + distance
        cpu.regs.rflags = 2 | 1 << 18
        assert run(machine, code + UD2) == (AC if distance % CHECKED[code] else UD), distance
    cpu.regs.rflags = 2
    cpu.regs.rax = cpu.regs.rdi = DATA + 1
    assert run(machine, code + UD2) == UD


def test_a_fault_on_the_second_page_comes_before_the_device_on_the_first(machine: Machine) -> None:
    cpu, _ = machine
    put_xmm(cpu, ALL_BITS)
    cpu.regs.rax = 2 * LARGE - 9
    for code in ("f30f6f00", "f20ff000", "f30f7f00"):  # MOVDQU load, LDDQU, MOVDQU store
        assert run(machine, code) == PF, code
    cpu.regs.rax = 2 * LARGE - 8
    for code in ("f30f6f00", "f20ff000", "f30f7f00"):
        assert run(machine, code) == PF, code
    assert xmm(cpu, 0) == ALL_BITS


def test_from_memory_into_a_device(machine: Machine) -> None:
    cpu, ram = machine
    value = int.from_bytes(bytes(range(1, 17)), "little")
    put_xmm(cpu, value)
    cpu.regs.rax = LARGE - 3
    assert run(machine, "f30f7f00") == MmioStore(gpa=DEVICE, size_bytes=5, value=0x08_0706_0504)
    assert cpu.run() == MmioStore(gpa=DEVICE + 5, size_bytes=8, value=value >> 64)
    assert cpu.run() == Halted()
    assert bytes(ram[LARGE - 3 : LARGE]) == bytes([1, 2, 3])
    assert run(machine, "f30f6f00") == MmioLoad(gpa=DEVICE, size_bytes=5)
    cpu.answer(0x55_4433_2211)
    assert cpu.run() == MmioLoad(gpa=DEVICE + 5, size_bytes=8)
    assert xmm(cpu, 0) == value
    cpu.answer(0)
    assert cpu.run() == Halted()
    assert xmm(cpu, 0) == 0x55_4433_2211_030201


def test_maskmovdqu_writes_what_is_selected(machine: Machine) -> None:
    """Single bytes, but eight at once where all are selected; everything or nothing over a page edge."""
    cpu, ram = machine
    data, mask = int.from_bytes(bytes(range(0x11, 0x21)), "little"), 0xFF_80_00_7F << 96 | 0x80_00 << 48
    put_xmm(cpu, data, mask)
    ram[DATA : DATA + 16] = bytes(16)
    cpu.regs.rdi = DATA
    maskmovdqu = "660ff7c1"
    assert run(machine, maskmovdqu) == Halted()
    assert bytes(ram[DATA : DATA + 16]) == bytes([0] * 7 + [0x18] + [0] * 6 + [0x1F, 0x20])
    cpu.regs.rdi = LARGE - 8
    assert run(machine, maskmovdqu) == MmioStore(gpa=DEVICE + 6, size_bytes=1, value=0x1F)
    assert cpu.run() == MmioStore(gpa=DEVICE + 7, size_bytes=1, value=0x20)
    assert cpu.run() == Halted()
    assert bytes(ram[LARGE - 8 : LARGE]) == bytes([0] * 7 + [0x18])
    put_xmm(cpu, data, ALL_BITS)
    assert run(machine, maskmovdqu) == MmioStore(gpa=DEVICE, size_bytes=8, value=data >> 64)
    assert cpu.run() == Halted()
    cpu.regs.rdi = 2 * LARGE - 1
    assert run(machine, maskmovdqu) == PF
    assert run(machine, "67" + maskmovdqu) == PF
    cpu.regs.rdi = 1 << 32 | DATA
    assert run(machine, "67" + maskmovdqu) == Halted()
    assert bytes(ram[DATA : DATA + 16]) == bytes(range(0x11, 0x21))
