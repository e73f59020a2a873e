"""The machine of machine.py, ready to run."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from pyhv import Segment, VirtualMachine
from pyhv.testing.guest import identity_tables

from .machine import (
    CODE,
    CODE64,
    GDT,
    HANDLERS,
    IDT,
    LDT,
    LOCAL,
    STACK0,
    STACK1,
    STACK_IST,
    TABLES,
    TASK,
    TSS,
    Machine,
    fill_tables,
    long_gate,
)


@pytest.fixture
def machine(assemble: Callable[[str, int, int], bytes]) -> Iterator[Machine]:
    """Level 0, tables loaded, RIP at `CODE`, the present task at `TSS`."""
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=1 << 20)
        with vm.vcpu() as cpu:
            made = Machine(vm, ram, cpu, assemble)
            fill_tables(made)
            cpu.enter_protected()
            made.at_level(0)
            cpu.segments.gdtr.base, cpu.segments.gdtr.limit = GDT, 0xFF
            cpu.segments.idtr.base, cpu.segments.idtr.limit = IDT, 0x7FF
            cpu.segments.tr.set(Segment(TASK, TSS, 0x67, 0x8B))
            cpu.segments.ldtr.set(Segment(LOCAL, LDT, 0xF, 0x82))
            cpu.regs.rip = CODE
            yield made


@pytest.fixture
def long_machine(machine: Machine) -> Machine:
    """64-bit mode at level 0, user pages, a handler of 64-bit code for every vector."""
    cr3 = identity_tables(machine.ram, TABLES)
    for at in range(TABLES, TABLES + 0x8000, 8):
        (entry,) = struct.unpack("<Q", bytes(machine.ram[at : at + 8]))
        if entry & 1:
            machine.put(at, struct.pack("<Q", entry | 4))
    for number in range(256):
        machine.put(IDT + 16 * number, long_gate(CODE64, HANDLERS + 16 * number, 14, 3))
    machine.put(TSS, struct.pack("<IQQQQQQ", 0, STACK0, STACK1, 0, 0, STACK_IST, 0) + bytes(0x34))
    machine.cpu.enter_long(cr3)
    machine.cpu.segments.gdtr.base, machine.cpu.segments.gdtr.limit = GDT, 0xFF
    machine.cpu.segments.idtr.base, machine.cpu.segments.idtr.limit = IDT, 0xFFF
    machine.cpu.segments.tr.set(Segment(TASK, TSS, 0x67, 0x8B))
    machine.cpu.segments.cs.selector = CODE64
    machine.cpu.regs.rip = CODE
    return machine
