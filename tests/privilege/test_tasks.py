"""Hardware task switches. Intel SDM vol. 3, "Task Management"."""

from __future__ import annotations

import struct

import pytest

from .machine import (
    ABSENT_CODE,
    ABSENT_DATA,
    ABSENT_STACK,
    BEYOND,
    CODE,
    CODE0,
    CODE3,
    CODE16,
    CONFORMING,
    DATA0,
    DATA3,
    DATA16,
    GATE,
    GDT,
    HANDLERS,
    INNER,
    LOCAL,
    OTHER_TASK,
    OTHER_TSS,
    STACK0,
    STACK_TASK,
    TASK,
    TASK16,
    TASK_GATE,
    TSS,
    TSS16,
    Machine,
    descriptor,
    gate,
)

NT, TS_BIT, BUSY = 1 << 14, 1 << 3, 2
WAYS = {
    "JMP to the segment": f"jmp {OTHER_TASK}:0",
    "CALL to the segment": f"call {OTHER_TASK}:0",
    "JMP through a gate": f"jmp {TASK_GATE}:0",
    "CALL through a gate": f"call {TASK_GATE}:0",
    "INT": "int 0x60",
}


def open_gates(machine: Machine) -> None:
    machine.describe(TASK_GATE, gate(OTHER_TASK, 0, 5, 3))
    machine.vector(0x60, gate(OTHER_TASK, 0, 5, 3))


def saved(machine: Machine, at: int = TSS) -> dict[str, int]:
    names = "eip eflags eax ecx edx ebx esp ebp esi edi es cs ss ds fs gs".split()
    return dict(zip(names, machine.words(at + 32, 16), strict=True))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", [0, 3])
def test_a_switch_saves_and_loads_everything(machine: Machine, way: str, level: int) -> None:
    open_gates(machine)
    machine.describe(OTHER_TASK, descriptor(OTHER_TSS, 0x67, 0xE9, 0))
    machine.task(
        OTHER_TSS, eax=1, ecx=2, edx=3, ebx=4, ebp=6, esi=7, edi=8, ldt=LOCAL, es=0xC, fs=DATA3 | 3, eflags=2 | 1
    )
    machine.code("hlt", INNER)
    length = machine.code(f"mov eax, 0x11; mov esi, 0x22; {WAYS[way]}")
    machine.at_level(level)
    sp = machine.cpu.regs.rsp
    machine.cpu.regs.dr7 = 0x7FF
    machine.run()
    nested = "JMP" not in way
    regs = machine.cpu.regs
    names = "rax rcx rdx rbx rsp rbp rsi rdi".split()
    assert [getattr(regs, name) for name in names] == [
        1,
        2,
        3,
        4,
        STACK_TASK,
        6,
        7,
        8,
    ]
    assert (regs.rip, regs.rflags) == (INNER + 1, 2 | 1 | (NT if nested else 0))
    segments = machine.cpu.segments
    assert (segments.cs.selector, segments.ss.selector, segments.es.selector) == (CODE0, DATA0, 0xC)
    assert (segments.ldtr.selector, segments.tr.selector, segments.tr.base) == (LOCAL, OTHER_TASK, OTHER_TSS)
    assert segments.tr.access_rights & 0xF == 11
    assert regs.cr0 & TS_BIT
    assert regs.dr7 == 0x7FF & ~0x155
    old = saved(machine)
    assert (old["eip"], old["eax"], old["esi"], old["esp"], old["eflags"]) == (CODE + length, 0x11, 0x22, sp, 2)
    assert (old["cs"], old["ss"]) == ((CODE3 | 3, DATA3 | 3) if level else (CODE0, DATA0))
    assert machine.access(OTHER_TASK) & BUSY
    assert bool(machine.access(TASK) & BUSY) == nested
    assert machine.words(OTHER_TSS, 1, 2)[0] == (TASK if nested else 0)


def test_iret_goes_back_and_a_second_call_goes_on(machine: Machine) -> None:
    machine.code("inc eax; iretd; add eax, 0x10; iretd", INNER)
    length = machine.code(f"call {OTHER_TASK}:0; mov ebx, 1; call {OTHER_TASK}:0; hlt")
    machine.run()
    assert machine.cpu.regs.rip == CODE + length
    assert machine.cpu.regs.rbx == 1
    assert saved(machine, OTHER_TSS)["eax"] == 0x11
    assert not saved(machine, OTHER_TSS)["eflags"] & NT
    assert not machine.access(OTHER_TASK) & BUSY
    assert machine.access(TASK) & BUSY
    assert not machine.cpu.regs.rflags & NT


def test_a_16_bit_task(machine: Machine) -> None:
    words = [0, 0, 0, 0, 0, 0, 0, INNER, 2, 1, 2, 3, 4, 0x5000, 6, 7, 8, DATA16, CODE16, DATA16, DATA16, 0]
    machine.put(TSS16, struct.pack("<22H", *words))
    machine.code("mov eax, 0x12345678; iret", INNER, 16)
    machine.code(f"call {TASK16}:0; hlt")
    machine.run()
    assert machine.words(TSS16 + 18, 4, 2) == [0x5678, 2, 3, 4]
    assert machine.words(TSS16 + 14, 1, 2) == [INNER + 7]
    assert machine.cpu.segments.cs.selector == CODE0
    assert machine.cpu.regs.rsp == STACK0


def test_an_exception_through_a_task_gate_brings_its_code(machine: Machine) -> None:
    machine.vector(13, gate(OTHER_TASK, 0, 5))
    machine.code("hlt", INNER)
    before = machine.code("nop")
    machine.code(f"nop; jmp {BEYOND}:0")
    machine.run()
    assert machine.frame(1) == [BEYOND]
    assert machine.cpu.regs.rsp == STACK_TASK - 4
    assert saved(machine)["eip"] == CODE + before
    assert saved(machine)["eflags"] & 1 << 16, "RF"


def test_the_trap_bit_of_a_task_is_a_debug_exception(machine: Machine) -> None:
    machine.task(OTHER_TSS, trap=1 | 0x68 << 16)
    machine.code("hlt", INNER)
    machine.code(f"jmp {OTHER_TASK}:0")
    machine.run()
    assert machine.halted_in() == 1
    assert machine.cpu.regs.dr6 & 1 << 15, "BT"
    assert machine.frame(2) == [INNER, CODE0]


LATE = {
    "local table beyond": ({"ldt": BEYOND}, 10, BEYOND),
    "local table in itself": ({"ldt": 0xC}, 10, 0xC),
    "local table is data": ({"ldt": DATA0}, 10, DATA0),
    "code null": ({"cs": 0}, 10, 0),
    "code beyond": ({"cs": BEYOND}, 10, BEYOND),
    "code is data": ({"cs": DATA0}, 10, DATA0),
    "code of another level": ({"cs": CODE3}, 10, CODE3),
    "code not present": ({"cs": ABSENT_CODE}, 11, ABSENT_CODE),
    "stack null": ({"ss": 0}, 10, 0),
    "stack is code": ({"ss": CODE0}, 10, CODE0),
    "stack of another level": ({"ss": DATA3}, 10, DATA3),
    "stack not present": ({"cs": CODE3 | 3, "ss": ABSENT_STACK | 3}, 12, ABSENT_STACK),
    "data beyond": ({"ds": BEYOND}, 10, BEYOND),
    "data is a task": ({"fs": TASK}, 10, TASK),
    "data not present": ({"gs": ABSENT_DATA}, 11, ABSENT_DATA),
    "data of an inner level": ({"cs": CODE3 | 3, "ss": DATA3 | 3, "ds": 0, "es": DATA0}, 10, DATA0),
}


@pytest.mark.parametrize("name", LATE)
def test_what_a_task_cannot_load_faults_in_the_new_task(machine: Machine, name: str) -> None:
    """Table "Exception Conditions Checked During a Task Switch". The handlers are tasks."""
    fields, vector, error = LATE[name]
    machine.task(OTHER_TSS, **fields)
    machine.vector(vector, gate(GATE, 0, 5))
    machine.describe(GATE, descriptor(0x2400, 0x67, 0x89, 0))
    machine.task(0x2400, eip=HANDLERS + 16 * vector)
    machine.code(f"jmp {OTHER_TASK}:0")
    machine.run()
    assert machine.halted_in() == vector
    assert machine.frame(1) == [error]
    assert machine.words(0x2400, 1, 2) == [OTHER_TASK]
    assert saved(machine, OTHER_TSS)["eip"] == INNER


def test_a_conforming_task_runs_at_its_rpl(machine: Machine) -> None:
    machine.task(OTHER_TSS, cs=CONFORMING | 3, ss=DATA3 | 3, ds=DATA3 | 3, es=0)
    machine.code("int 0x40", INNER)
    machine.code(f"jmp {OTHER_TASK}:0")
    machine.run()
    assert machine.frame(2) == [INNER + 2, CONFORMING | 3]


def test_a_task_with_too_small_a_segment_is_refused_before_the_switch(machine: Machine) -> None:
    machine.describe(OTHER_TASK, descriptor(OTHER_TSS, 0x66, 0x89, 0))
    machine.code(f"jmp {OTHER_TASK}:0")
    machine.run()
    assert (machine.halted_in(), machine.frame(3)) == (10, [OTHER_TASK, CODE, CODE0])
    assert machine.cpu.segments.tr.selector == TASK


def test_iret_to_a_task_that_is_not_busy_is_an_invalid_tss(machine: Machine) -> None:
    machine.put(TSS, struct.pack("<H", OTHER_TASK))
    before = machine.code("pushfd; or dword ptr [esp], 0x4000; popfd")
    machine.code("pushfd; or dword ptr [esp], 0x4000; popfd; iretd")
    machine.run()
    assert (machine.halted_in(), machine.frame(3)) == (10, [OTHER_TASK, CODE + before, CODE0])


def test_nothing_has_happened_when_the_old_task_cannot_be_saved(machine: Machine) -> None:
    machine.cpu.segments.tr.limit = 0x60
    machine.code(f"jmp {OTHER_TASK}:0")
    machine.run()
    assert (machine.halted_in(), machine.frame(1)) == (10, [TASK])
    assert not machine.access(OTHER_TASK) & BUSY
    assert machine.words(GDT, 2) == [0, 0]
