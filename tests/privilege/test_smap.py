"""Which accesses of the processor itself EFLAGS.AC opens user pages to, under SMAP.

Intel SDM vol. 3, "Determination of Access Rights": accesses to the GDT, LDT, IDT and TSS are implicit and AC is nothing
to them; pushes of an event's frame or through a call gate are explicit ones of the level that is entered.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pyhv import Cr0, Cr4, Exception, Halted
from pyhv.exits import Exit

from .machine import (
    CODE,
    CODE0,
    CODE3,
    CODE64,
    CODE64_3,
    GATE,
    GATE64,
    GDT,
    IDT,
    INNER,
    STACK0,
    TSS,
    Machine,
    gate,
    long_gate,
)
from .test_long import user

PAGES = 0x30000
PRESENT, WRITABLE, USER = 1, 2, 4
SMAP, AC = 1 << 21, 1 << 18
UD, PF = 6, 14
# What ring 3 executes and what the processor reads lies on pages of its own, so that each can be a user's or not.
USERS_OWN = {CODE >> 12, 0xA000 >> 12}


def pages(machine: Machine, entry_bytes: int) -> int:
    """A page table for the first 1 MiB; the GPA of its entries. User pages are those of ring 3 only."""
    for n in range(256):
        rights = PRESENT | WRITABLE | (USER if n in USERS_OWN else 0)
        machine.put(PAGES + entry_bytes * n, (n << 12 | rights).to_bytes(entry_bytes, "little"))
    return PAGES


def open_to_users(machine: Machine, at: int, entry_bytes: int) -> None:
    place = PAGES + entry_bytes * (at >> 12)
    machine.put(place, bytes([machine.ram[place] | USER]))


def enter_paging(machine: Machine) -> int:
    """32-bit paging and SMAP; the bytes of an entry."""
    machine.put(PAGES + 0x1000, struct.pack("<I", pages(machine, 4) | PRESENT | WRITABLE | USER))
    machine.cpu.regs.cr3 = PAGES + 0x1000
    machine.cpu.regs.cr4 = Cr4(SMAP)
    machine.cpu.regs.cr0 = Cr0(machine.cpu.regs.cr0 | 1 << 31)
    return 4


def enter_long_paging(machine: Machine) -> int:
    """The same in 64-bit mode, where the tables of `long_machine` lead to a page table instead of a large page."""
    machine.put(0x22000, struct.pack("<Q", pages(machine, 8) | PRESENT | WRITABLE | USER))
    machine.cpu.regs.cr4 = Cr4(machine.cpu.regs.cr4 | SMAP)
    return 8


def run(machine: Machine, *, ac: bool) -> Exit:
    machine.cpu.controls.exception_bitmap = 1 << PF
    machine.cpu.regs.rflags = 2 | (AC if ac else 0)
    machine.put(INNER, b"\xf4")
    return machine.cpu.run(budget=100)


def interrupt_from_3(machine: Machine, bits: int) -> None:
    machine.code("int 0x40", bits=bits)


def gate_from_3(machine: Machine, bits: int) -> None:
    if bits == 64:
        machine.describe(GATE64, long_gate(CODE64, INNER, 12, 3))
        machine.put(0x4100, struct.pack("<IH", 0, GATE64 | 3))
        machine.code("call fword ptr [0x4100]", bits=64)
    else:
        machine.describe(GATE, gate(CODE0, INNER, 12, 3))
        machine.code(f"lcall {GATE | 3:#x}, 0", bits=32)


WAYS: dict[str, Callable[[Machine, int], None]] = {"interrupt": interrupt_from_3, "call gate": gate_from_3}


@pytest.mark.parametrize("ac", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_ac_opens_user_pages_to_the_pushes_of_32_bit_code(machine: Machine, way: str, ac: bool) -> None:
    WAYS[way](machine, 32)
    entry_bytes = enter_paging(machine)
    machine.at_level(3)
    open_to_users(machine, STACK0 - 1, entry_bytes)
    stopped = run(machine, ac=ac)
    assert stopped == (Halted() if ac else Exception(PF, 3, STACK0 - 4))


@pytest.mark.parametrize("ac", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_ac_opens_user_pages_to_the_pushes_of_64_bit_code(long_machine: Machine, way: str, ac: bool) -> None:
    machine = long_machine
    WAYS[way](machine, 64)
    entry_bytes = enter_long_paging(machine)
    user(machine)
    open_to_users(machine, STACK0 - 1, entry_bytes)
    stopped = run(machine, ac=ac)
    assert stopped == (Halted() if ac else Exception(PF, 3, STACK0 - 8))


@pytest.mark.parametrize("ac", [False, True])
@pytest.mark.parametrize(("table", "reads"), [("gdt", GDT + CODE64), ("idt", IDT + 16 * 0x40), ("tss", TSS + 4)])
def test_tables_on_user_pages_stay_closed(long_machine: Machine, table: str, reads: int, ac: bool) -> None:
    machine = long_machine
    interrupt_from_3(machine, 64)
    entry_bytes = enter_long_paging(machine)
    user(machine)
    open_to_users(machine, reads, entry_bytes)
    assert run(machine, ac=ac) == Exception(PF, 1, reads), table


@pytest.mark.parametrize("ac", [False, True])
def test_a_frame_at_the_same_level(long_machine: Machine, ac: bool) -> None:
    machine = long_machine
    machine.put(INNER, b"\xcd\x40")
    entry_bytes = enter_long_paging(machine)
    open_to_users(machine, STACK0 - 1, entry_bytes)
    machine.cpu.regs.rip, machine.cpu.regs.rsp = INNER, STACK0
    machine.cpu.controls.exception_bitmap = 1 << PF
    machine.cpu.regs.rflags = 2 | (AC if ac else 0)
    assert machine.cpu.run(budget=100) == (Halted() if ac else Exception(PF, 3, STACK0 - 8))


def test_a_frame_of_ring_3_is_a_users(long_machine: Machine) -> None:
    """A handler of 64-bit code at level 3, entered from compatibility mode: 64 bits of address, and a user's access."""
    machine = long_machine
    machine.code("int 0x40", bits=32)
    entry_bytes = enter_long_paging(machine)
    high = 0xFFFF_8000_0000_0000
    machine.put(0x20800, bytes(machine.ram[0x20000:0x20008]))  # the upper half shows the same
    machine.put(TSS + 0x24, struct.pack("<Q", high + 0xC000))
    machine.put(IDT + 16 * 0x40, long_gate(CODE64_3 | 3, CODE + 0x100, 14, 3, ist=1))
    machine.put(CODE + 0x100, b"\x0f\x0b")
    user(machine, CODE3, wide=False)
    machine.cpu.controls.exception_bitmap = 1 << PF | 1 << UD
    assert machine.cpu.run(budget=10) == Exception(PF, 7, high + 0xC000 - 8)
    open_to_users(machine, 0xBFFF, entry_bytes)
    assert machine.cpu.run(budget=10) == Exception(UD, None, None)
    assert machine.cpu.regs.rsp == high + 0xC000 - 40
