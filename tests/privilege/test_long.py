"""Levels, gates and compatibility mode under long mode.

Intel SDM vol. 3, "Interrupt and Exception Handling in 64-bit Mode", "IA-32e Mode Call Gates", "Stack Switching in
IA-32e Mode".
"""

from __future__ import annotations

import struct

import pytest

from pyhv import Segment

from .machine import (
    BEYOND,
    CODE,
    CODE0,
    CODE3,
    CODE64,
    CODE64_3,
    CONFORMING64,
    DATA0,
    DATA3,
    GATE64,
    GDT,
    HANDLERS,
    IDT,
    INNER,
    STACK0,
    STACK3,
    STACK_IST,
    TASK,
    TSS,
    Machine,
    descriptor,
    gate,
    long_gate,
)


def user(machine: Machine, selector: int = CODE64_3, *, wide: bool = True) -> None:
    machine.at_level(3)
    machine.cpu.segments.cs.set(Segment(selector | 3, 0, 0xFFFF_FFFF, 0xA0FB if wide else 0xC0FB))


@pytest.mark.parametrize("wide", [True, False])
def test_an_interrupt_of_level_3_has_five_words_of_64_bits(long_machine: Machine, wide: bool) -> None:
    machine = long_machine
    length = machine.code("mov ebx, 7; int 0x40", bits=64)
    user(machine, CODE64_3 if wide else CODE3, wide=wide)
    machine.run()
    assert machine.halted_in() == 0x40
    assert machine.frame(5, 8) == [CODE + length, (CODE64_3 if wide else CODE3) | 3, 2, STACK3, DATA3 | 3]
    assert (machine.cpu.segments.cs.selector, machine.cpu.segments.ss.selector) == (CODE64, 0)


def test_the_interrupt_stack_table_and_its_alignment(long_machine: Machine) -> None:
    machine = long_machine
    machine.put(IDT + 16 * 6, long_gate(CODE64, HANDLERS + 16 * 6, 14, ist=1))
    machine.put(TSS + 0x24, struct.pack("<Q", STACK_IST + 7))
    machine.code("ud2", bits=64)
    machine.run()
    assert machine.cpu.regs.rsp == STACK_IST - 40
    assert machine.frame(5, 8) == [CODE, CODE64, 2 | 1 << 16, STACK0, DATA0]


@pytest.mark.judges("IRETQ")
def test_iretq_goes_to_compatibility_mode_and_back_by_interrupt(long_machine: Machine) -> None:
    machine = long_machine
    machine.code("mov eax, -1; inc eax; int 0x40", INNER, 32)
    machine.code(
        f"mov rax, -1; push {DATA3 | 3}; push {STACK3}; push 2; push {CODE3 | 3}; push {INNER}; iretq", bits=64
    )
    machine.run()
    assert machine.halted_in() == 0x40
    assert machine.cpu.regs.rax == 0
    assert machine.frame(5, 8) == [INNER + 8, CODE3 | 3, 0x46 | 0x10 | 0, STACK3, DATA3 | 3]


def test_iretq_at_level_0_takes_a_null_stack(long_machine: Machine) -> None:
    machine = long_machine
    machine.code("hlt", INNER, 64)
    machine.code(f"mov rbx, rsp; push 0; push rbx; push 2; push {CODE64}; push {INNER}; iretq", bits=64)
    machine.run()
    assert (machine.cpu.regs.rip, machine.cpu.regs.rsp, machine.cpu.segments.ss.selector) == (INNER + 1, STACK0, 0)


@pytest.mark.judges("RET far", "JMP ptr")
def test_a_far_return_to_compatibility_code_of_level_0(long_machine: Machine) -> None:
    machine = long_machine
    machine.code(f"mov eax, {DATA0}; mov ds, ax; mov ebx, esp; jmp {CODE64}:{INNER + 0x40}", INNER, 32)
    machine.code("hlt", INNER + 0x40, 64)
    machine.code(f"push {CODE0}; push {INNER}; .byte 0x48; retf", bits=64)
    machine.run()
    assert machine.cpu.regs.rip == INNER + 0x41
    assert machine.cpu.regs.rbx == STACK0


@pytest.mark.parametrize("wide", [True, False])
def test_a_call_gate_has_16_bytes_and_leads_to_64_bit_code(long_machine: Machine, wide: bool) -> None:
    machine = long_machine
    machine.put(GDT + GATE64, long_gate(CODE64, INNER, 12, 3))
    machine.code("hlt", INNER, 64)
    if wide:
        machine.put(0xF00, struct.pack("<IH", 0x1234, GATE64))
        length = machine.code("call fword ptr [0xf00]", bits=64)
    else:
        length = machine.code(f"call {GATE64}:0")
    user(machine, CODE64_3 if wide else CODE3, wide=wide)
    machine.run()
    assert machine.cpu.regs.rip == INNER + 1
    assert machine.frame(4, 8) == [CODE + length, (CODE64_3 if wide else CODE3) | 3, STACK3, DATA3 | 3]
    assert machine.cpu.segments.ss.selector == 0


@pytest.mark.judges("RET far", "CALL ptr")
def test_a_return_through_the_gate(long_machine: Machine) -> None:
    machine = long_machine
    machine.put(GDT + GATE64, long_gate(CODE64, INNER, 12, 3))
    machine.code(".byte 0x48; retf", INNER, 64)
    machine.code(f"call {GATE64}:0; mov ebx, esp; int 0x40")
    user(machine, CODE3, wide=False)
    machine.run()
    assert (machine.halted_in(), machine.cpu.regs.rbx) == (0x40, STACK3)


@pytest.mark.parametrize("jump", [True, False])
def test_a_gate_to_conforming_code_keeps_the_level(long_machine: Machine, jump: bool) -> None:
    machine = long_machine
    machine.put(GDT + GATE64, long_gate(CONFORMING64, INNER, 12, 3))
    machine.code("int 0x40", INNER, 64)
    length = machine.code(f"{'jmp' if jump else 'call'} {GATE64}:0")
    user(machine, CODE3, wide=False)
    machine.run()
    frame = machine.frame(5, 8)
    assert frame == [INNER + 2, CONFORMING64 | 3, 2, STACK3 - (0 if jump else 16), DATA3 | 3]
    if not jump:
        assert machine.words(STACK3 - 16, 2, 8) == [CODE + length, CODE3 | 3]


BAD = {
    "a gate to 32-bit code": (long_gate(CODE0, INNER, 12, 3), 13, CODE0),
    "a 16-bit gate": (long_gate(CODE64, INNER, 4, 3), 13, GATE64),
    "a task gate": (long_gate(TASK, INNER, 5, 3), 13, GATE64),
    "a task": (descriptor(TSS, 0x67, 0xE9, 0) + bytes(8), 13, GATE64),
    "a type in the upper half": (gate(CODE64, INNER, 12, 3) + struct.pack("<II", 0, 1 << 8), 13, GATE64),
    "a target that is not canonical": (long_gate(CODE64, 1 << 47, 12, 3), 13, 0),
    "a gate of level 0": (long_gate(CODE64, INNER, 12, 0), 13, GATE64),
    "code beyond the table": (long_gate(BEYOND, INNER, 12, 3), 13, BEYOND),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_call_cannot_pass(long_machine: Machine, name: str) -> None:
    machine = long_machine
    data, vector, error = BAD[name]
    machine.put(GDT + GATE64, data)
    machine.code(f"call {GATE64}:0")
    user(machine, CODE3, wide=False)
    machine.run()
    assert (machine.halted_in(), machine.frame(2, 8)) == (vector, [error, CODE])


def test_a_gate_cut_off_by_the_table(long_machine: Machine) -> None:
    machine = long_machine
    machine.put(GDT + GATE64, long_gate(CODE64, INNER, 12, 3))
    machine.cpu.segments.gdtr.limit = GATE64 + 14
    machine.code(f"call {GATE64}:0")
    user(machine, CODE3, wide=False)
    machine.run()
    assert (machine.halted_in(), machine.frame(1, 8)) == (13, [GATE64])


BAD_IDT = {
    "32-bit handler": (long_gate(CODE0, HANDLERS, 14, 3), 13, CODE0),
    "task gate": (long_gate(TASK, 0, 5, 3), 13, 0x60 * 8 + 2),
    "16-bit gate": (long_gate(CODE64, HANDLERS, 6, 3), 13, 0x60 * 8 + 2),
    "not canonical": (long_gate(CODE64, 1 << 47, 14, 3), 13, 0),
    "level 0": (long_gate(CODE64, HANDLERS, 14, 0), 13, 0x60 * 8 + 2),
}


@pytest.mark.parametrize("name", BAD_IDT)
def test_what_an_interrupt_cannot_pass(long_machine: Machine, name: str) -> None:
    machine = long_machine
    data, vector, error = BAD_IDT[name]
    machine.put(IDT + 16 * 0x60, data)
    machine.code("int 0x60", bits=64)
    user(machine)
    machine.run()
    assert (machine.halted_in(), machine.frame(2, 8)) == (vector, [error, CODE])


def test_a_stack_that_is_not_canonical_is_a_stack_fault(long_machine: Machine) -> None:
    machine = long_machine
    machine.put(TSS + 4, struct.pack("<Q", 1 << 47))
    machine.put(IDT + 16 * 12, long_gate(CODE64, HANDLERS + 16 * 12, 14, ist=1))
    machine.code("int 0x40", bits=64)
    user(machine)
    machine.run()
    assert (machine.halted_in(), machine.frame(2, 8)) == (12, [0, CODE])


def test_iret_with_nt_is_refused(long_machine: Machine) -> None:
    machine = long_machine
    before = machine.code("pushfq; or qword ptr [rsp], 0x4000; popfq", bits=64)
    machine.code("pushfq; or qword ptr [rsp], 0x4000; popfq; iretq", bits=64)
    machine.run()
    assert (machine.halted_in(), machine.frame(2, 8)) == (13, [0, CODE + before])


@pytest.mark.parametrize("wide", [True, False])
def test_sysenter_leads_to_64_bit_code_and_sysexit_where_its_width_says(long_machine: Machine, wide: bool) -> None:
    machine = long_machine
    base = 0x98 - 16  # SYSEXIT: + 16 32-bit code, + 32 64-bit code; nothing is read from the table
    for number, value in ((0x174, base), (0x175, 0x8800), (0x176, INNER)):
        machine.cpu.msrs[number] = value
    machine.code(
        f"mov rbx, rsp; mov rdx, 0x5000; mov rcx, 0x9f00; {'.byte 0x48;' if wide else ''} .byte 0x0f, 0x35", INNER, 64
    )
    machine.code("int 0x40", 0x5000)
    machine.code("sysenter")
    user(machine, CODE3, wide=False)
    machine.run()
    first = base + (32 if wide else 16)
    assert machine.cpu.regs.rbx == 0x8800
    assert machine.frame(5, 8) == [0x5002, first | 3, 2, 0x9F00, (first + 8) | 3]


@pytest.mark.judges("LTR")
def test_ltr_reads_16_bytes(long_machine: Machine) -> None:
    machine = long_machine
    machine.put(GDT + GATE64, descriptor(0x2200, 0x67, 0x89, 0) + struct.pack("<II", 0x1, 0))
    machine.code(f"mov eax, {GATE64}; ltr ax; hlt", bits=64)
    machine.run()
    assert machine.cpu.segments.tr.base == 0x1_0000_2200
    assert machine.access(GATE64) == 0x8B


@pytest.mark.parametrize(("load", "kind"), [("ltr ax", 0x89), ("lldt ax", 0x82)])
def test_the_limit_of_the_gdt_comes_before_the_upper_half(long_machine: Machine, load: str, kind: int) -> None:
    """Sixteen bytes have to be there; of a descriptor that ends behind the limit nothing more is read."""
    machine, selector = long_machine, 0xF8
    end = len(machine.ram)  # the upper half would lie where there is no memory
    machine.put(end - 0x100, bytes(machine.ram[GDT : GDT + 0x100]))
    machine.put(end - 8, descriptor(TSS, 0x67, kind, 0))
    machine.cpu.segments.gdtr.base = end - 0x100
    machine.code(f"mov eax, {selector}; {load}; hlt", bits=64)
    machine.run()
    assert machine.halted_in() == 13
    assert machine.frame(1, 8) == [selector]
