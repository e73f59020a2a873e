"""Every x87 instruction on random states, here and on the bare processor: registers, tags, status, memory, flags."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pyhv import Halted, VCpu, VirtualMachine

from .bare_x87 import OPERAND_BYTES, BareX87

OPERAND = 0x2000
ARITHMETIC = 0x8D5
# By first byte: the ModRM.reg values that have a memory form on [RSI]. Not those that load or store an environment.
MEMORY = {
    0xD8: range(8), 0xD9: (0, 2, 3, 5, 7), 0xDA: range(8), 0xDB: (0, 1, 2, 3, 5, 7),
    0xDC: range(8), 0xDD: (0, 1, 2, 3, 7), 0xDE: range(8), 0xDF: range(8),
}  # fmt: skip
# By first byte: the ModRM values of register forms. FNINIT and FNSTSW AX are elsewhere.
REGISTERS = {
    0xD8: range(0xC0, 0x100),
    0xD9: [*range(0xC0, 0xD1), *range(0xD8, 0xE0), 0xE0, 0xE1, 0xE4, 0xE5, *range(0xE8, 0xEF), *range(0xF0, 0x100)],
    0xDA: [*range(0xC0, 0xE0), 0xE9],
    0xDB: [*range(0xC0, 0xE0), 0xE0, 0xE1, 0xE2, 0xE4, *range(0xE8, 0xF8)],
    0xDC: range(0xC0, 0x100),
    0xDD: [*range(0xC0, 0xF0)],
    0xDE: [*range(0xC0, 0xD8), 0xD9, *range(0xE0, 0x100)],
    0xDF: [*range(0xC0, 0xE0), *range(0xE8, 0xF8)],
}
FORMS = [bytes((first, reg << 3 | 6)) for first, regs in MEMORY.items() for reg in regs]
FORMS += [bytes((first, modrm)) for first, modrms in REGISTERS.items() for modrm in modrms]

ONE = 1 << 63
SIGNIFICANDS = [0, 1, ONE, ONE + 1, 3 << 62, (3 << 62) + 1, (1 << 64) - 1, 1 << 62, ONE | 1 << 40, 0xC90FDAA22168C235]
EXPONENTS = [0, 1, 0x3FFF, 0x3FFE, 0x4000, 0x403E, 0x3FBF, 0x7FFE, 0x7FFF, 0x43FE, 0x3C01, 0x407E, 0x3F81]
SINGLES = [0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x4B000001, 0x80000000]
INFINITY = 0x7FF0 << 48
DOUBLES = [0, 1, (1 << 52) - 1, 1 << 52, 0x3FF0 << 48, 0x7FEF << 48, INFINITY, INFINITY + 1, 0x7FF8 << 48, 1 << 63]


def real(rng: random.Random) -> bytes:
    kind = rng.random()
    significand = rng.choice(SIGNIFICANDS) if kind < 0.6 else rng.getrandbits(64) | (kind < 0.95) << 63
    near_one = 0x3FFF + rng.randint(-70, 70)
    exponent = rng.choice((rng.choice(EXPONENTS), rng.getrandbits(15), near_one))
    return struct.pack("<QH", significand, exponent | rng.getrandbits(1) << 15)


def operand(rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        value = struct.pack("<I", rng.choice(SINGLES) ^ rng.getrandbits(1) << 31)
    elif kind == 1:
        value = struct.pack("<Q", rng.choice(DOUBLES) ^ rng.getrandbits(1) << 63)
    elif kind == 2:
        value = real(rng)
    else:
        digits = "".join(rng.choice("0123456789") for _ in range(18))
        value = bytes.fromhex(digits) + bytes([rng.choice((0, 0x80))])
    return value + rng.randbytes(OPERAND_BYTES - len(value))


def image(rng: random.Random) -> bytes:
    control = rng.choice((0x37F, 0x27F, 0x37F)) if rng.random() < 0.4 else rng.getrandbits(16) & 0x1F3F | 0x40
    status = rng.getrandbits(16) & 0x7F00 | (rng.getrandbits(7) & control)
    status = status & 0xFFC0 | status & control & 0x3F  # none of them is pending
    tags = 0xFF if rng.random() < 0.4 else rng.getrandbits(8)
    registers = b"".join(real(rng) + bytes(6) for _ in range(8))
    return struct.pack("<HHBBHQQII", control, status, tags, 0, 0, 0, 0, 0x1F80, 0) + registers + bytes(352)


def visible(fx: bytes) -> tuple[str, ...]:
    """What is compared: control, status, tags and registers. Processors keep the pointers in different cases."""
    return fx[:2].hex(), fx[2:4].hex(), fx[4:5].hex(), *(fx[32 + 16 * n : 42 + 16 * n].hex() for n in range(8))


@pytest.fixture(scope="module")
def bare() -> BareX87:
    return BareX87()


@pytest.fixture(scope="module")
def cpu() -> Iterator[VCpu]:
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=0x10000)
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            ram[0x1000:0x2000] = b"\xf4" * 0x1000
            yield cpu


@pytest.mark.parametrize("seed", range(8))
def test_as_the_processor_does_it(cpu: VCpu, bare: BareX87, seed: int) -> None:
    rng = random.Random(seed)
    for form in FORMS * 2:
        before, data, flags = image(rng), operand(rng), rng.getrandbits(12) & ARITHMETIC
        theirs, their_data, their_flags = bare.run(form, before, data, flags)
        cpu.vm.write(0x1000, form + b"\xf4")
        cpu.vm.write(OPERAND, data)
        cpu.state = replace(cpu.state, xsave=before)
        cpu.regs.rip, cpu.regs.rsi, cpu.regs.rflags = 0x1000, OPERAND, 2 | flags
        assert cpu.run() == Halted(), form.hex()
        ours = cpu.state.xsave
        what = f"{form.hex()} on {visible(before)} and {data[:10].hex()}, flags {flags:#x}"
        assert visible(ours) == visible(theirs), what
        assert cpu.vm.read(OPERAND, OPERAND_BYTES) == their_data, what
        assert cpu.regs.rflags & ARITHMETIC == their_flags & ARITHMETIC, what
