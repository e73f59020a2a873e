"""A 64-bit guest with a handler for each vector that only halts, to see what an exception has left behind."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyhv import Halted, Mapping, VCpu, VirtualMachine
from pyhv.arch.x86_64.registers import Reg

CODE, DATA, HANDLERS, IDT, GDT, TABLES, STACK = 0x1000, 0x3000, 0x4000, 0x5000, 0x6000, 0x10000, 0x8000
RF, TF = 1 << 16, 1 << 8
BS, BD = 1 << 14, 1 << 13
DR6_FIXED = 0xFFFF_0FF0


@dataclass(frozen=True)
class Guest:
    ram: Mapping
    cpu: VCpu

    def load(self, code: str, at: int = CODE) -> None:
        program = bytes.fromhex(code)
        self.ram[at : at + len(program)] = program
        self.cpu.regs.rip = at

    def dr(self, number: int) -> int:
        return self.cpu.engine.read_register(Reg.DR0 + number)

    def set_dr(self, number: int, value: int) -> None:
        self.cpu.engine.write_register(Reg.DR0 + number, value)

    def arm(self, address: int, kind: int, size_bytes: int = 1, number: int = 0) -> None:
        """Set one breakpoint: kind 0 execute, 1 write, 2 port, 3 read or write."""
        length = {1: 0, 2: 1, 8: 2, 4: 3}[size_bytes]
        self.set_dr(number, address)
        self.set_dr(7, self.dr(7) | 1 << 2 * number | kind << (16 + 4 * number) | length << (18 + 4 * number))

    def handled(self) -> tuple[int, int, int]:
        """Run to the HLT of a handler: the vector, and RIP and RFLAGS as they were pushed."""
        stopped = self.cpu.run(budget=1000)
        assert stopped == Halted(), stopped
        vector, offset = divmod(self.cpu.regs.rip - HANDLERS, 16)
        assert offset == 1 and 0 <= vector < 32, f"halted at {self.cpu.regs.rip:#x}"
        sp = self.cpu.regs.rsp + (8 if vector in (8, 10, 11, 12, 13, 14, 17) else 0)
        rip, _cs, flags = struct.unpack_from("<QQQ", self.ram[sp : sp + 24])
        return vector, rip, flags

    def back(self) -> None:
        """Go on where the handler was entered from, as its IRETQ would."""
        self.cpu.regs.rip += 13  # from behind the HLT


@contextmanager
def guest() -> Iterator[Guest]:
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=1 << 22)
        ram[TABLES : TABLES + 8] = struct.pack("<Q", TABLES + 0x1000 | 7)
        ram[TABLES + 0x1000 : TABLES + 0x1008] = struct.pack("<Q", TABLES + 0x2000 | 7)
        ram[TABLES + 0x2000 : TABLES + 0x2008] = struct.pack("<Q", 7 | 1 << 7)
        ram[GDT : GDT + 24] = struct.pack("<QQQ", 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
        for vector in range(32):
            at = HANDLERS + 16 * vector
            ram[at] = 0xF4
            ram[at + 14 : at + 16] = bytes.fromhex("48cf")
            gate = at & 0xFFFF | 8 << 16 | 0x8E00 << 32
            ram[IDT + 16 * vector : IDT + 16 * vector + 16] = struct.pack("<QQ", gate, 0)
        cpu = vm.vcpu()
        cpu.enter_long(TABLES)
        cpu.regs.rsp = STACK
        cpu.engine.write_register(Reg.IDT_BASE, IDT)
        cpu.engine.write_register(Reg.IDT_LIMIT, 32 * 16 - 1)
        cpu.engine.write_register(Reg.GDT_BASE, GDT)
        cpu.engine.write_register(Reg.GDT_LIMIT, 23)
        ram[CODE : CODE + 0x100] = b"\x90" * 0x100
        yield Guest(ram, cpu)
