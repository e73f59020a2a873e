"""Random small guests that end the same wherever they run, and the moving of one from engine to engine."""

from __future__ import annotations

import mmap
import random
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from pyhv import BudgetSpent, CpuState, PortIn, PortOut, VCpu, VirtualMachine
from pyhv.testing.guest import CODE, Guest, enter_user, identity_tables

RAM_BYTES, DATA, STACK, USER_TABLES = 0x1_0000, 0x4000, 0x8000, 0xC000
IOPL_3, RF = 3 << 12, 1 << 16
END, STOP = 0x81, 0x80  # ports: the program is over; a place to stop
_CMP: bytes = bytes.fromhex("4839c8")  # cmp rax, rcx: all flags are defined behind it
_GENERAL = (0, 1, 2, 5, 6, 7)  # rax, rcx, rdx, rbp, rsi, rdi; rbx has the data, rsp the stack


def program(seed: int, items: int) -> bytes:
    """64-bit code, without loops but those of REP, that leaves by OUT to `STOP` and at last to `END`."""
    choice = random.Random(seed)
    makers = (
        _arithmetic,
        _logic,
        _product,
        _memory,
        _stack,
        _flags,
        _string,
        _sse,
        _sse_memory,
        _x87,
        _x87_memory,
        _port,
    )
    body = bytes.fromhex("dbe3")  # fninit
    for _ in range(items):
        body += choice.choice(makers)(choice)
    return body + bytes([0xE6, END])


def _modrm(choice: random.Random, regs: Sequence[int] = _GENERAL) -> tuple[int, int]:
    return choice.choice(regs), choice.choice(regs)


def _arithmetic(choice: random.Random) -> bytes:
    reg, rm = _modrm(choice)
    if choice.random() < 0.3:
        return bytes([0x48, 0xC7, 0xC0 | rm]) + choice.randbytes(4)  # mov rm, imm32
    return bytes(
        [choice.choice([0x40, 0x48]), choice.choice([0x01, 0x11, 0x19, 0x29, 0x39, 0x89, 0x87]), 0xC0 | reg << 3 | rm]
    )


def _logic(choice: random.Random) -> bytes:
    reg, rm = _modrm(choice)
    kind = choice.choice([bytes([0x48, 0x21]), bytes([0x48, 0x31]), bytes([0x48, 0x09]), bytes([0x48, 0x0F, 0xA3])])
    return kind + bytes([0xC0 | reg << 3 | rm]) + _CMP


def _product(choice: random.Random) -> bytes:
    reg, rm = _modrm(choice)
    if choice.random() < 0.5:
        return bytes([0x48, 0x0F, 0xAF, 0xC0 | reg << 3 | rm]) + _CMP  # imul
    return bytes([0x48, 0xC1, 0xC0 | choice.choice([0, 1, 4, 5, 7]) << 3 | rm, choice.randrange(64)]) + _CMP  # shifts


def _place(choice: random.Random, reg: int, size: int = 8) -> bytes:
    """ModRM and displacement of [rbx + disp32]."""
    return bytes([0x83 | reg << 3]) + struct.pack("<i", choice.randrange(0, 0x400, size))


def _memory(choice: random.Random) -> bytes:
    opcode = choice.choice([0x89, 0x8B, 0x01, 0x03, 0x31, 0x11, 0x87])
    tail = _CMP if opcode == 0x31 else b""
    return bytes([0x48, opcode]) + _place(choice, choice.choice(_GENERAL), choice.choice([1, 8])) + tail


def _stack(choice: random.Random) -> bytes:
    reg, rm = _modrm(choice)
    return bytes([0x50 | reg, 0x58 | rm])


def _flags(choice: random.Random) -> bytes:
    return choice.choice([b"\xf8", b"\xf9", b"\xf5", b"\xfc", bytes.fromhex("0f94c0"), b"\x9e\x9f"])


def _string(choice: random.Random) -> bytes:
    # lea rsi,[rbx+…]; lea rdi,[rbx+…]; mov ecx, n; rep movsb or stosq
    setup = bytes([0x48, 0x8D]) + _place(choice, 6) + bytes([0x48, 0x8D]) + _place(choice, 7)
    return setup + b"\xb9" + struct.pack("<I", choice.randrange(20)) + choice.choice([b"\xf3\xa4", b"\xf3\x48\xab"])


def _sse(choice: random.Random) -> bytes:
    reg, rm = choice.randrange(8), choice.randrange(8)
    opcode = choice.choice(
        ["0f58", "660f58", "f20f59", "f30f5c", "660fef", "660ffe", "0f28", "660f6f", "f20f2a", "0f54"]
    )
    return bytes.fromhex(opcode) + bytes([0xC0 | reg << 3 | (rm if opcode != "f20f2a" else choice.choice(_GENERAL))])


def _sse_memory(choice: random.Random) -> bytes:
    if choice.random() < 0.15:  # mov dword [rbx], …; ldmxcsr [rbx]; stmxcsr [rbx]
        rounding = choice.randrange(4) << 13
        return b"\xc7\x03" + struct.pack("<I", 0x1F80 | rounding) + bytes.fromhex("0fae13 0fae1b")
    return bytes.fromhex(choice.choice(["660f7f", "660f6f", "f20f10", "f20f11", "0f10"])) + _place(
        choice, choice.randrange(8), 16
    )


def _x87(choice: random.Random) -> bytes:
    return bytes.fromhex(
        choice.choice(["d9e8", "d9eb", "d9ee", "d8c1", "d8c9", "d9c9", "d9fa", "d9e1", "d9e0", "ddd8", "d9f7", "d9fc"])
    )


def _x87_memory(choice: random.Random) -> bytes:
    opcode, reg = choice.choice([(0xDD, 0), (0xDD, 3), (0xD9, 3), (0xDB, 0), (0xDB, 5), (0xDB, 7), (0xD9, 7)])
    return bytes([opcode]) + _place(choice, reg, 16)


def _port(choice: random.Random) -> bytes:
    return bytes([choice.choice([0xE6, 0xE4]), STOP])


@contextmanager
def machines(engines: Sequence[str], code: bytes, user: bool) -> Iterator[tuple[list[VCpu], mmap.mmap]]:
    """A vCPU on each of the engines, all on the same memory, about to run `code`."""
    with ExitStack() as stack:
        ram = stack.enter_context(mmap.mmap(-1, RAM_BYTES))
        cpus = []
        for engine in engines:
            vm = stack.enter_context(VirtualMachine(engine))
            mapping = stack.enter_context(vm.map(ram, at=0))
            cpu = stack.enter_context(vm.vcpu())
            if user:
                enter_user(Guest(vm, mapping, cpu))
            else:
                cpu.enter_long(identity_tables(mapping, USER_TABLES))
            cpu.regs.cr4 = cpu.regs.cr4.replace(osfxsr=1, osxmmexcpt=1)
            cpu.regs.rip, cpu.regs.rbx, cpu.regs.rsp = CODE, DATA, STACK
            cpus.append(cpu)
        ram[CODE : CODE + len(code)] = code
        ram[DATA : DATA + 0x1000] = random.Random(len(code)).randbytes(0x1000)
        yield cpus, ram


def comparable(state: CpuState) -> CpuState:
    """Without what hosts and KVMs differ in: x87's pointers to its last instruction, RF; IOPL at CPL 3."""
    xsave = state.xsave[:6] + bytes(18) + state.xsave[24:]
    return replace(state.replace(rflags=(state["rflags"] | IOPL_3) & ~RF), xsave=xsave)


def to_the_end(engines: Sequence[str], code: bytes, user: bool, seed: int, budget: bool) -> tuple[CpuState, bytes]:
    """Run `code`, moving from each engine to the next at every stop; the end state and the memory."""
    choice = random.Random(seed)
    with machines(engines, code, user) as (cpus, ram):
        turn, answered = 0, 0
        for _ in range(10_000):
            cpu = cpus[turn % len(cpus)]
            stopped = cpu.run(budget=choice.randrange(1, 12)) if budget else cpu.run()
            match stopped:
                case PortOut(port=port) if port == END:
                    return comparable(cpu.state), bytes(ram)
                case PortIn():
                    answered += 37
                    cpu.answer(answered & 0xFF)
                    continue
                case PortOut() | BudgetSpent():
                    pass
                case _:
                    raise AssertionError(f"{cpu} stopped with {stopped} at {cpu.regs.rip:#x}")
            turn += 1
            if len(cpus) > 1:
                state = cpu.state
                cpus[turn % len(cpus)].state = state.replace(rflags=state["rflags"] | IOPL_3) if user else state
    raise AssertionError("the program does not end")
