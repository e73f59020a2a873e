"""What the services see of a real-mode guest: 16-bit registers by name, and memory by segment and offset."""

from __future__ import annotations

from typing import Any, Protocol

CARRY, ZERO, INTERRUPT, TRAP = 1 << 0, 1 << 6, 1 << 9, 1 << 8
MEMORY_BYTES = 0x10_FFF0  # what real mode can address


class GuestMemory(Protocol):
    """Guest-physical memory, as slices of bytes."""

    def __getitem__(self, key: slice, /) -> Any: ...
    def __setitem__(self, key: slice, value: bytes, /) -> None: ...


def _word(register: str) -> property:
    """The low 16 bits of a register; the others stay."""

    def get(self: Guest16) -> int:
        return int(getattr(self.cpu.regs, register)) & 0xFFFF

    def put(self: Guest16, value: int) -> None:
        setattr(self.cpu.regs, register, int(getattr(self.cpu.regs, register)) & ~0xFFFF | value & 0xFFFF)

    return property(get, put)


def _byte(register: str, shift: int) -> property:
    def get(self: Guest16) -> int:
        return int(getattr(self.cpu.regs, register)) >> shift & 0xFF

    def put(self: Guest16, value: int) -> None:
        old = int(getattr(self.cpu.regs, register))
        setattr(self.cpu.regs, register, old & ~(0xFF << shift) | (value & 0xFF) << shift)

    return property(get, put)


def _selector(name: str) -> property:
    def get(self: Guest16) -> int:
        return int(getattr(self.cpu.segments, name).selector)

    def put(self: Guest16, value: int) -> None:
        segment = getattr(self.cpu.segments, name)
        segment.selector, segment.base = value & 0xFFFF, (value & 0xFFFF) << 4

    return property(get, put)


class Guest16:
    """A real-mode guest. `cpu` is a vCPU (anything with `regs` and `segments`), `memory` its RAM from GPA 0."""

    def __init__(self, cpu: Any, memory: GuestMemory) -> None:
        self.cpu = cpu
        self.memory = memory

    ax, bx, cx, dx = _word("rax"), _word("rbx"), _word("rcx"), _word("rdx")
    si, di, bp, sp = _word("rsi"), _word("rdi"), _word("rbp"), _word("rsp")
    ah, al, bh, bl = _byte("rax", 8), _byte("rax", 0), _byte("rbx", 8), _byte("rbx", 0)
    ch, cl, dh, dl = _byte("rcx", 8), _byte("rcx", 0), _byte("rdx", 8), _byte("rdx", 0)
    cs, ds, es, ss = _selector("cs"), _selector("ds"), _selector("es"), _selector("ss")
    ip, flags = _word("rip"), _word("rflags")

    @property
    def carry(self) -> bool:
        return bool(self.flags & CARRY)

    @carry.setter
    def carry(self, value: bool) -> None:
        self.flags = self.flags & ~CARRY | CARRY * value

    @property
    def zero(self) -> bool:
        return bool(self.flags & ZERO)

    @zero.setter
    def zero(self, value: bool) -> None:
        self.flags = self.flags & ~ZERO | ZERO * value

    def read(self, segment: int, offset: int, size: int) -> bytes:
        """`size` bytes; the offset wraps at 64 KiB, as the processor's does."""
        offset &= 0xFFFF
        first = min(size, 0x10000 - offset)
        start = (segment << 4) + offset
        data = bytes(self.memory[start : start + first])
        return data if first == size else data + self.read(segment, 0, size - first)

    def write(self, segment: int, offset: int, data: bytes) -> None:
        offset &= 0xFFFF
        first = min(len(data), 0x10000 - offset)
        start = (segment << 4) + offset
        self.memory[start : start + first] = data[:first]
        if first < len(data):
            self.write(segment, 0, data[first:])

    def read_word(self, segment: int, offset: int) -> int:
        return int.from_bytes(self.read(segment, offset, 2), "little")

    def read_until(self, segment: int, offset: int, end: int, limit: int = 0x10000) -> bytes:
        """The bytes up to (without) `end`; at most `limit`."""
        block = self.read(segment, offset, limit)
        found = block.find(end)
        return block if found < 0 else block[:found]

    def push(self, value: int) -> None:
        self.sp = self.sp - 2
        self.write(self.ss, self.sp, (value & 0xFFFF).to_bytes(2, "little"))
