"""Which instruction has just been? KVM tells of a port write, a store or a HLT behind it; Apple's exit comes before it.

Everything here is about bytes and registers. What it finds are candidates: `witness` says which of them explains what
KVM reported. SDM vol. 2A, "Instruction Format" and the instructions named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ... import _silicon
from ...exits import PortOut

LONGEST: Final = 15
RAX, RCX, RDX, RSI, RDI, RSP, RIP, RFLAGS = 0, 2, 3, 4, 5, 6, 16, 17
"""Places in KVM's order of the general registers; see `state.GENERAL_ORDER`."""
RF: Final = 1 << 16
"""Of RFLAGS: no code breakpoint at this instruction."""

_PREFIXES: Final = frozenset({0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3})
_REPEATS: Final = frozenset({0xF2, 0xF3})
_STRINGS: Final = {"outs": (RSI,), "ins": (RDI,), "stos": (RDI,), "movs": (RSI, RDI)}
OUTS: Final = (0x6E, 0x6F)
"""Its opcodes."""
_OUT_DX, _OUT_IMMEDIATE, _HLT = (0xEE, 0xEF), (0xE6, 0xE7), 0xF4
_CF, _DF = 1, 1 << 10
_U64: Final = (1 << 64) - 1
EVERY_LENGTH: Final = tuple(range(LONGEST + 1))
_SWEEPS: Final = 32  # boundaries that decoding is begun from
_NUMBERS: Final = ("ax", "bx", "cx", "dx", "si", "di", "sp", "bp")
_BYTES: Final = ("al", "bl", "cl", "dl", "sil", "dil", "spl", "bpl")
_HIGH: Final = ("ah", "bh", "ch", "dh")
_SEGMENTS: Final = frozenset({"es", "cs", "ss", "ds", "fs", "gs"})
_FROM_MEMORY: Final = frozenset(
    {*("mov", "movzx", "movsx", "movsxd", "movbe", "cmp", "test", "add", "sub", "and", "or", "xor"), "adc", "sbb", "bt"}
)
_MASKS: Final = {16: 0xFFFF, 32: 0xFFFF_FFFF, 64: _U64}


@dataclass(frozen=True, slots=True)
class Mode:
    """How code is read: the width of addresses and operands, that of the stack pointer, and where code begins."""

    bits: int
    stack_bits: int
    base: int

    def linear(self, rip: int) -> int:
        """The linear address of an instruction."""
        return rip if self.bits == 64 else (rip + self.base) & 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Before:
    """Registers with which an instruction of `length` bytes may have begun; `repeats`: one iteration of a REP."""

    length: int
    general: tuple[int, ...]
    repeats: bool = False


def decode(code: bytes, bits: int) -> tuple[int, str]:
    """Length and text of the first instruction; the length is 0 where there is none."""
    _, length, text = _silicon.disassemble(code, 0, bits)[0] if code else (0, 0, "(bad)")
    return (0, "") if text == "(bad)" else (length, text)


def plain_outs(code: bytes, out: PortOut, general: Sequence[int], bits: int) -> list[int]:
    """Lengths of the port writes from a register that `code` may end with."""
    port, size, found = out.port, out.size_bytes, list[int]()
    if general[RAX] & (1 << 8 * size) - 1 != out.data:
        return found
    if code[-1:] and code[-1] in _OUT_DX and general[RDX] & 0xFFFF == port:
        found.append(1)
    if len(code) > 1 and code[-2] in _OUT_IMMEDIATE and code[-1] == port:
        found.append(2)
    return [
        length
        for least in found
        for length in _with_prefixes(code, least, bits)
        if _out_size(code[-length:], least, bits) == size
    ]


def plain_out_at(code: bytes, bits: int) -> int:
    """The length of the port write from a register that `code` begins with; 0: it begins with something else."""
    for at, byte in enumerate(code):
        if byte in _PREFIXES or (bits == 64 and byte >> 4 == 4):
            continue
        return at + 1 if byte in _OUT_DX else at + 2 if byte in _OUT_IMMEDIATE else 0
    return 0


def halts(code: bytes, bits: int) -> list[int]:
    """Lengths of the HLT that `code` may end with."""
    return list(_with_prefixes(code, 1, bits)) if code[-1:] and code[-1] == _HLT else []


def _with_prefixes(code: bytes, least: int, bits: int) -> Iterator[int]:
    yield least
    for length in range(least + 1, min(LONGEST, len(code)) + 1):
        byte = code[-length]
        if byte not in _PREFIXES and not (bits == 64 and byte >> 4 == 4):
            return
        yield length


def _out_size(code: bytes, opcode_bytes: int, bits: int) -> int:
    if not code[-opcode_bytes] & 1:
        return 1
    return 2 if (bits == 16) != (0x66 in code[:-opcode_bytes]) else 4


def candidates(
    code: tuple[bytes, bytes],
    general: tuple[int, ...],
    mode: Mode,
    written: tuple[int, int],
    lengths: Iterable[int] = EVERY_LENGTH,
) -> Iterator[Before]:
    """States before an instruction that may have written, of one of these lengths, and that the code up to RIP ends
    with. Length 0: the one that the code from RIP on begins with, a REP that is not over.

    `general` are the registers behind it; `written` is how many bytes it wrote, and which value.
    """
    until, after = code
    flags = general[RFLAGS] & ~RF
    for length in lengths:
        insn = until[-length:] if length else after[:LONGEST]
        found, text = decode(insn, mode.bits)
        if not length and found and _repeats(insn[:found]) and _string(text):
            yield from _undone((insn[:found], text), _changed(general, {RFLAGS: flags}), mode, written)
        elif length and found == length and _may_write(text):
            rip = (general[RIP] - length) & _MASKS[64 if mode.bits == 64 else 32]
            yield from _undone((insn, text), _changed(general, {RIP: rip, RFLAGS: flags}), mode, written)


def _may_write(text: str) -> bool:
    return "[" in text or bool(_string(text)) or any(name in text for name in ("push", "call", "enter", "out"))


def _undone(insn: tuple[bytes, str], back: tuple[int, ...], mode: Mode, written: tuple[int, int]) -> Iterator[Before]:
    """What an instruction did to registers, the other way round."""
    code, text = insn
    length, words = len(code), text.split()
    while len(words) > 1 and words[0] in {"rep", "repe", "repne", "lock", "xacquire", "xrelease"}:
        words.pop(0)
    name = words[0]
    string = _string(text)
    if string:
        yield _before_string(code, string, back, mode, written[0])
        return
    for step in _stack_steps(name):
        sp = _add(back[RSP], step, mode.stack_bits)
        yield Before(length, _changed(back, {RSP: sp}))
    yield Before(length, back)
    if name in {"adc", "sbb", "rcl", "rcr"}:
        yield Before(length, _changed(back, {RFLAGS: back[RFLAGS] ^ _CF}))
    if name in {"xchg", "xadd"}:
        yield from _exchanged(words, back, length, written)


def _before_string(code: bytes, name: str, back: tuple[int, ...], mode: Mode, size: int) -> Before:
    bits = _address_bits(code, mode.bits)
    step = size if back[RFLAGS] & _DF else -size
    changes = {reg: _add(back[reg], step, bits) for reg in _STRINGS[name]}
    repeats = _repeats(code)
    if repeats:
        changes[RCX] = _add(back[RCX], 1, bits)
    return Before(len(code), _changed(back, changes), repeats)


def _stack_steps(name: str) -> Sequence[int]:
    """How far the stack pointer may have come."""
    if name.startswith("pusha"):
        return (16, 32)
    if name.startswith(("push", "enter")):
        return (2, 4, 8)
    return (-2, -4, -8) if name.startswith("pop") else ()


def _exchanged(words: list[str], back: tuple[int, ...], length: int, written: tuple[int, int]) -> Iterator[Before]:
    """XCHG and XADD: the register that came from memory had what memory was to get."""
    size, value = written
    adds, register = words[0] == "xadd", words[-1]
    place = _place(register)
    if place is None:
        return
    number, shift = place
    mask = ((1 << 8 * size) - 1) << shift
    old = (value - (back[number] >> shift if adds else 0)) << shift & mask
    yield Before(length, _changed(back, {number: back[number] & ~mask | old}))


def _place(register: str) -> tuple[int, int] | None:
    """Number and first bit of a general register."""
    if register in _HIGH:
        return _HIGH.index(register), 8
    if register in _BYTES:
        return _BYTES.index(register), 0
    numbered = re.fullmatch(r"r(\d+)[bwd]?", register)
    if numbered:
        return int(numbered[1]), 0
    name = register.lstrip("er")
    return (_NUMBERS.index(name), 0) if name in _NUMBERS else None


def _string(text: str) -> str:
    """The string instruction that it is, without its width; empty for others."""
    found = re.search(r"\b(outs|ins|stos|movs)[bwdq]\b(?! xmm)", text)
    return found[1] if found else ""


def _repeats(code: bytes) -> bool:
    for byte in code:
        if byte in _REPEATS:
            return True
        if byte not in _PREFIXES:
            return False
    return False


def _address_bits(code: bytes, bits: int) -> int:
    for byte in code:
        if byte == 0x67:
            return 16 if bits == 32 else 32
        if byte not in _PREFIXES:
            break
    return bits


def _add(value: int, step: int, bits: int) -> int:
    mask = _MASKS[bits]
    return value & ~mask | (value + step) & mask if bits < 32 else (value + step) & mask


def _changed(general: tuple[int, ...], changes: dict[int, int]) -> tuple[int, ...]:
    values = list(general)
    for place, value in changes.items():
        values[place] = value
    return tuple(values)


def loads_registers(text: str) -> bool:
    """Whether an instruction that reads memory can change nothing but general registers and flags."""
    name, _, operands = text.partition(" ")
    first = operands.split(",")[0]
    if name.startswith("lods"):
        return True
    return name in _FROM_MEMORY and first not in _SEGMENTS and (name in {"cmp", "test"} or "[" not in first)


def of_repeats(found: list[Before], after: tuple[int, ...]) -> list[Before]:
    """Those that are a REP, or not, as RF behind it says: KVM's emulator sets it in a REP and clears it in all others.

    Linux: x86_emulate_insn. Where that leaves none, all.
    """
    repeats = bool(after[RFLAGS] & RF)
    return [one for one in found if one.repeats == repeats] or found


def likeliest(found: Iterable[Before], code: bytes, bits: int, known: int | None = None) -> Before:
    """Of several that explain it, the one that decoding lands on: from a place where an instruction begins, if one is
    `known`, else from most places further back. The shortest of equals.

    They can only differ in prefixes that change nothing.
    """
    every = sorted(found, key=lambda one: one.length)
    if len(every) == 1:
        return every[0]
    hits: Counter[int] = Counter()
    starts = range(max(0, len(code) - LONGEST - _SWEEPS), max(0, len(code) - LONGEST)) if known is None else (known,)
    for start in starts:
        hits.update(_boundaries(code, start, bits))
    return max(every, key=lambda one: (hits[len(code) - one.length], -one.length))


def _boundaries(code: bytes, start: int, bits: int) -> set[int]:
    return {at for at, _, _ in _silicon.disassemble(code[start:], start, bits)}
