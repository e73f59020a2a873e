"""A protected-mode machine: descriptor tables, task-state segments, a handler that halts for every vector."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pyhv import Halted, Mapping, VCpu, VirtualMachine
from pyhv import Segment as Hidden

GDT: Final = 0x800
IDT: Final = 0x1000
TSS: Final = 0x2000
OTHER_TSS: Final = 0x2100
TSS16: Final = 0x2200
LDT: Final = 0x2300
CODE: Final = 0x4000
HANDLERS: Final = 0x6000
"""Of vector n at + 16 n: HLT."""
INNER: Final = 0x7000
"""For code that a gate or a task leads to."""
STACK0: Final = 0x9000
STACK1: Final = 0x9800
STACK3: Final = 0xA000
STACK_TASK: Final = 0xB000
STACK_IST: Final = 0xC000
TABLES: Final = 0x20000
"""Of long mode: a first 2 MiB page, user."""

# Selectors of the GDT, RPL 0.
CODE0, DATA0, CODE3, DATA3, TASK, OTHER_TASK = 0x08, 0x10, 0x18, 0x20, 0x28, 0x30
CONFORMING, CODE16, DATA16, TASK16, LOCAL = 0x38, 0x40, 0x48, 0x50, 0x58
ABSENT_DATA, ABSENT_CODE, CODE1, DATA1, READ_ONLY, DOWN, EXECUTE_ONLY = 0x60, 0x68, 0x70, 0x78, 0x80, 0x88, 0x90
GATE, TASK_GATE, ABSENT_STACK, ABSENT_TASK, CODE64, BEYOND = 0x98, 0xA0, 0xA8, 0xB0, 0xB8, 0x200
CODE64_3, CONFORMING64, GATE64 = 0xC0, 0xC8, 0xD0  # the last one has 16 bytes

_GDT_ROWS: Final = {
    CODE0: (0, 0xFFFFF, 0x9B, 0xC),
    DATA0: (0, 0xFFFFF, 0x93, 0xC),
    CODE3: (0, 0xFFFFF, 0xFB, 0xC),
    DATA3: (0, 0xFFFFF, 0xF3, 0xC),
    TASK: (TSS, 0x67, 0x8B, 0),
    OTHER_TASK: (OTHER_TSS, 0x67, 0x89, 0),
    CONFORMING: (0, 0xFFFFF, 0x9F, 0xC),
    CODE16: (0, 0xFFFF, 0x9B, 0),
    DATA16: (0, 0xFFFF, 0x93, 0),
    TASK16: (TSS16, 0x2B, 0x81, 0),
    LOCAL: (LDT, 0xF, 0x82, 0),
    ABSENT_DATA: (0, 0xFFFFF, 0x13, 0xC),
    ABSENT_CODE: (0, 0xFFFFF, 0x1B, 0xC),
    CODE1: (0, 0xFFFFF, 0xBB, 0xC),
    DATA1: (0, 0xFFFFF, 0xB3, 0xC),
    READ_ONLY: (0, 0xFFFFF, 0x91, 0xC),
    DOWN: (0, 0x5FFF, 0xF7, 0x4),
    EXECUTE_ONLY: (0, 0xFFFFF, 0x99, 0xC),
    ABSENT_STACK: (0, 0xFFFFF, 0x73, 0xC),
    ABSENT_TASK: (OTHER_TSS, 0x67, 0x09, 0),
    CODE64: (0, 0xFFFFF, 0x9B, 0xA),
    CODE64_3: (0, 0xFFFFF, 0xFB, 0xA),
    CONFORMING64: (0, 0xFFFFF, 0x9F, 0xA),
}


def descriptor(base: int, limit: int, access: int, flags: int) -> bytes:
    """Eight bytes of a segment descriptor. Intel SDM vol. 3, "Segment Descriptors"."""
    low = (limit & 0xFFFF) | (base & 0xFFFFFF) << 16
    return struct.pack("<Q", low | access << 40 | (limit >> 16) << 48 | flags << 52 | (base >> 24) << 56)


def long_gate(selector: int, offset: int, kind: int, dpl: int = 0, *, ist: int = 0) -> bytes:
    """Sixteen bytes of a gate of long mode. Intel SDM vol. 3, "64-Bit Mode IDT", "IA-32e Mode Call Gates"."""
    return gate(selector, offset, kind, dpl, parameters=ist) + struct.pack("<II", offset >> 32, 0)


def gate(selector: int, offset: int, kind: int, dpl: int = 0, *, present: bool = True, parameters: int = 0) -> bytes:
    """Eight bytes of a gate. Intel SDM vol. 3, "Call Gates", "IDT Descriptors"."""
    access = kind | dpl << 5 | present << 7
    return struct.pack("<HHBBH", offset & 0xFFFF, selector, parameters, access, offset >> 16 & 0xFFFF)


@dataclass(frozen=True, slots=True)
class Machine:
    """One vCPU in 32-bit protected mode at level 0, flat."""

    vm: VirtualMachine
    ram: Mapping
    cpu: VCpu
    assemble: Callable[[str, int, int], bytes]

    def put(self, at: int, data: bytes) -> None:
        self.ram[at : at + len(data)] = data

    def words(self, at: int, count: int, size_bytes: int = 4) -> list[int]:
        """Little-endian numbers in memory."""
        code = {2: "H", 4: "I", 8: "Q"}[size_bytes]
        return list(struct.unpack(f"<{count}{code}", bytes(self.ram[at : at + count * size_bytes])))

    def code(self, text: str, at: int = CODE, bits: int = 32) -> int:
        """Assemble `text` at `at`. The bytes it has."""
        data = self.assemble(text, at, bits)
        self.put(at, data)
        return len(data)

    def describe(self, selector: int, data: bytes) -> None:
        """Put a descriptor into the GDT."""
        self.put(GDT + (selector & 0xFFF8), data)

    def access(self, selector: int) -> int:
        """The access byte of a descriptor as it is now."""
        return self.ram[GDT + (selector & 0xFFF8) + 5]

    def vector(self, number: int, data: bytes) -> None:
        """Put a gate into the IDT."""
        self.put(IDT + 8 * number, data)

    def frame(self, count: int, size_bytes: int = 4) -> list[int]:
        """What lies on top of the stack, the top first."""
        return self.words(self.cpu.regs.rsp, count, size_bytes)

    def at_level(self, level: int) -> None:
        """Level 3 or 0, as if it had been returned to."""
        code, data, sp = (CODE3 | 3, DATA3 | 3, STACK3) if level == 3 else (CODE0, DATA0, STACK0)
        for name in ("cs", "ss", "ds", "es", "fs", "gs"):
            selector, access = (code, 0xC09B) if name == "cs" else (data, 0xC093)
            getattr(self.cpu.segments, name).set(Hidden(selector, 0, 0xFFFF_FFFF, access | level << 5))
        self.cpu.regs.rsp = sp

    def run(self, budget: int = 1000) -> None:
        """To the first HLT."""
        exit = self.cpu.run(budget=budget)
        assert exit == Halted(), (exit, hex(self.cpu.regs.rip), hex(self.cpu.regs.rsp))

    def halted_in(self) -> int | None:
        """The vector whose handler has halted."""
        offset = self.cpu.regs.rip - 1 - HANDLERS
        return offset // 16 if offset % 16 == 0 and 0 <= offset < 16 * 256 else None

    def task(self, at: int, **fields: int) -> None:
        """Fill a 32-bit task-state segment; the fields that are not given lead to `INNER` at level 0."""
        places = (
            "link esp0 ss0 esp1 ss1 esp2 ss2 cr3 eip eflags eax ecx edx ebx esp ebp esi edi es cs ss ds fs gs ldt trap"
        )
        values = dict.fromkeys(places.split(), 0) | {
            "esp0": STACK0, "ss0": DATA0, "esp1": STACK1, "ss1": DATA1 | 1, "eip": INNER, "eflags": 2,
            "esp": STACK_TASK, "cs": CODE0, "ss": DATA0, "ds": DATA0, "es": DATA0,
            "trap": 0x68 << 16,  # and no I/O permission bitmap
        } | fields  # fmt: skip
        self.put(at, struct.pack("<26I", *values.values()))


def fill_tables(machine: Machine) -> None:
    """GDT, LDT, IDT with 32-bit interrupt gates of level 3, handlers, task-state segments."""
    for selector, row in _GDT_ROWS.items():
        machine.describe(selector, descriptor(*row))
    machine.put(LDT + 8, descriptor(0, 0xFFFFF, 0x93, 0xC))
    for number in range(256):
        machine.vector(number, gate(CODE0, HANDLERS + 16 * number, 14, 3))
        machine.put(HANDLERS + 16 * number, b"\xf4")
    machine.task(TSS)
    machine.task(OTHER_TSS)
