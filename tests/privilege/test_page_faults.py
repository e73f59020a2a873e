"""Page faults of what the processor itself reads and writes: nothing has happened, and once mended it goes on.

Intel SDM vol. 3, "Page-Fault Exception (#PF)", "Exception Conditions Checked During a Task Switch", "Stack Switching".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest

from pyhv import CpuState, Cr0, Exception, Halted, Segment

from .machine import (
    CODE0,
    CODE64,
    DATA3,
    GATE,
    GATE64,
    GDT,
    INNER,
    OTHER_TASK,
    STACK3,
    STACK_TASK,
    TASK,
    TSS,
    Machine,
    descriptor,
    gate,
    long_gate,
)
from .test_long import user

TABLE, DIRECTORY = 0x30000, 0x31000
PF, FULL, READ_ONLY, ABSENT = 14, 7, 5, 6
WP, PG = 1 << 16, 1 << 31
# Task-state segments that go over a page edge: 0x20 bytes before it.
OLD_TSS, NEW_TSS = 0x11FE0, 0x13FE0
EDGE_STACK = 0x15008
"""Its third word of 32 bits lies on another page."""


def set_page(machine: Machine, at: int, rights: int, entry_bytes: int = 4) -> None:
    place = TABLE + entry_bytes * (at >> 12)
    machine.put(place, ((at & -4096) | rights).to_bytes(entry_bytes, "little"))
    machine.cpu.engine.invalidate_tlb()


def enter_paging(machine: Machine, directory: int = DIRECTORY) -> None:
    """32-bit paging with WP, all of the first 1 MiB for everybody."""
    for n in range(256):
        set_page(machine, n << 12, FULL)
    machine.put(directory, struct.pack("<I", TABLE | FULL))
    machine.cpu.regs.cr3 = directory
    machine.cpu.regs.cr0 = Cr0(machine.cpu.regs.cr0 | PG | WP)
    machine.cpu.controls.exception_bitmap = 1 << PF


def stops_with_nothing_done(machine: Machine, error: int, address: int) -> CpuState:
    before = machine.cpu.state
    assert machine.cpu.run(budget=50) == Exception(PF, error, address)
    after = machine.cpu.state
    same = after.replace(pending_debug=before["pending_debug"])
    assert before.diff(same) == []
    return before


@pytest.mark.parametrize("way", ["interrupt", "call gate"])
def test_in_the_middle_of_an_inner_frame(machine: Machine, way: str) -> None:
    machine.put(INNER, b"\xf4")
    machine.put(TSS + 4, struct.pack("<I", EDGE_STACK))
    machine.describe(GATE, gate(CODE0, INNER, 12, 3))
    length = machine.code("int 0x40" if way == "interrupt" else f"lcall {GATE | 3:#x}, 0")
    enter_paging(machine)
    machine.at_level(3)
    set_page(machine, 0x14000, ABSENT)
    stops_with_nothing_done(machine, 2, 0x14FFC)
    set_page(machine, 0x14000, READ_ONLY)
    before = stops_with_nothing_done(machine, 3, 0x14FFC)
    set_page(machine, 0x14000, FULL)
    assert machine.cpu.run(budget=50) == Halted()
    flags = [2] if way == "interrupt" else []
    frame = [before["rip"] + length, before["cs.selector"], *flags, STACK3, DATA3 | 3]
    assert machine.frame(len(frame)) == frame
    assert machine.cpu.regs.rsp == EDGE_STACK - 4 * len(frame)


@pytest.mark.parametrize("way", ["interrupt", "call gate"])
def test_in_the_middle_of_a_frame_of_64_bit_code(long_machine: Machine, way: str) -> None:
    machine = long_machine
    machine.put(INNER, b"\xf4")
    machine.put(TSS + 4, struct.pack("<Q", EDGE_STACK + 8))
    machine.describe(GATE64, long_gate(CODE64, INNER, 12, 3))
    machine.put(0x4100, struct.pack("<IH", 0, GATE64 | 3))
    length = machine.code("int 0x40" if way == "interrupt" else "call fword ptr [0x4100]", bits=64)
    for n in range(256):
        set_page(machine, n << 12, FULL, 8)
    machine.put(0x22000, struct.pack("<Q", TABLE | FULL))
    machine.cpu.regs.cr0 = Cr0(machine.cpu.regs.cr0 | WP)
    machine.cpu.controls.exception_bitmap = 1 << PF
    user(machine)
    set_page(machine, 0x14000, ABSENT, 8)
    before = stops_with_nothing_done(machine, 2, 0x14FF8)
    set_page(machine, 0x14000, FULL, 8)
    assert machine.cpu.run(budget=50) == Halted()
    flags = [2] if way == "interrupt" else []
    frame = [before["rip"] + length, before["cs.selector"], *flags, STACK3, DATA3 | 3]
    assert machine.frame(len(frame), 8) == frame


@dataclass(frozen=True, slots=True)
class Hurdle:
    """A page that a task switch needs, made absent or read-only; the fault that it makes."""

    page: int
    rights: int
    error: int
    address: int
    by: str = "jmp"


HURDLES = {
    "the new task-state segment": Hurdle(0x13000, ABSENT, 0, NEW_TSS + 28),
    "its second page": Hurdle(0x14000, ABSENT, 0, 0x14000),
    "the old one": Hurdle(0x12000, ABSENT, 2, OLD_TSS + 32),
    "the old one, read-only": Hurdle(0x12000, READ_ONLY, 3, OLD_TSS + 32),
    "the link": Hurdle(0x13000, READ_ONLY, 3, NEW_TSS, "call"),
    "the busy bits": Hurdle(0, READ_ONLY, 3, GDT + TASK + 5),
    "the new busy bit": Hurdle(0, READ_ONLY, 3, GDT + OTHER_TASK + 5, "call"),
}


def between_tasks(machine: Machine, by: str) -> None:
    machine.describe(TASK, descriptor(OLD_TSS, 0x67, 0x8B, 0))
    machine.describe(OTHER_TASK, descriptor(NEW_TSS, 0x67, 0x89, 0))
    machine.cpu.segments.tr.set(Segment(TASK, OLD_TSS, 0x67, 0x8B))
    machine.task(OLD_TSS)
    machine.task(NEW_TSS, cr3=DIRECTORY)
    machine.put(INNER, b"\xf4")
    machine.code(f"{by} {OTHER_TASK}:0")
    enter_paging(machine)


@pytest.mark.parametrize("name", HURDLES)
def test_before_a_task_switch_is_committed(machine: Machine, name: str) -> None:
    hurdle = HURDLES[name]
    between_tasks(machine, hurdle.by)
    set_page(machine, hurdle.page, hurdle.rights)
    memory = bytes(machine.ram[:TABLE])
    stops_with_nothing_done(machine, hurdle.error, hurdle.address)
    assert bytes(machine.ram[:TABLE]) == memory
    set_page(machine, hurdle.page, FULL)
    assert machine.cpu.run(budget=50) == Halted()
    assert (machine.cpu.segments.tr.selector, machine.cpu.regs.rsp) == (OTHER_TASK, STACK_TASK)
    assert machine.access(OTHER_TASK) & 2


def test_in_the_new_task_when_its_tables_do_not_map_the_gdt(machine: Machine) -> None:
    """The switch is done then: the fault is the new task's, before its first instruction."""
    between_tasks(machine, "jmp")
    other = 0x32000
    machine.put(other, struct.pack("<I", 0x33000 | FULL))
    machine.put(0x33000, bytes(machine.ram[TABLE : TABLE + 0x400]))
    machine.put(0x33000, struct.pack("<I", ABSENT))
    machine.put(NEW_TSS + 28, struct.pack("<I", other))
    assert machine.cpu.run(budget=50) == Exception(PF, 0, GDT + CODE0)
    assert (machine.cpu.regs.rip, machine.cpu.regs.cr3) == (INNER, other)
    assert machine.cpu.segments.tr.selector == OTHER_TASK
    assert not machine.access(TASK) & 2


def test_pushing_the_error_code_on_the_new_task_s_stack(machine: Machine) -> None:
    """An exception through a task gate: the switch is done, the push faults in the new task."""
    between_tasks(machine, "jmp")
    machine.vector(13, gate(OTHER_TASK, 0, 5, 0))
    machine.code("mov ax, 0x200; mov ds, ax")
    set_page(machine, STACK_TASK - 1, ABSENT)
    assert machine.cpu.run(budget=50) == Exception(PF, 2, STACK_TASK - 4)
    assert (machine.cpu.regs.rip, machine.cpu.regs.rsp) == (INNER, STACK_TASK)
    assert machine.cpu.segments.tr.selector == OTHER_TASK
