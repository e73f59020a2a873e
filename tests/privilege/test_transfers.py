"""Ways from one privilege level, mode and segment to another, in 16- and 32-bit code.

Intel SDM vol. 3, "Privilege Levels", "Stack Switching"; vol. 2, "CALL—Call Procedure", "RET—Return From Procedure",
"IRET/IRETD/IRETQ—Interrupt Return", "INT n/INTO/INT3/INT1—Call to Interrupt Procedure".
"""

from __future__ import annotations

import struct

import pytest

from pyhv import PortOut, Shutdown

from .machine import (
    ABSENT_CODE,
    ABSENT_STACK,
    BEYOND,
    CODE,
    CODE0,
    CODE1,
    CODE3,
    CODE16,
    CONFORMING,
    DATA0,
    DATA1,
    DATA3,
    DATA16,
    GATE,
    HANDLERS,
    INNER,
    OTHER_TASK,
    OTHER_TSS,
    READ_ONLY,
    STACK0,
    STACK1,
    STACK3,
    TASK,
    TSS,
    TSS16,
    Machine,
    descriptor,
    gate,
)

VM, IOPL3, IF = 1 << 17, 3 << 12, 1 << 9


def test_a_call_gate_changes_stacks_and_copies_parameters(machine: Machine) -> None:
    machine.describe(GATE, gate(CODE0, INNER, 12, 3, parameters=3))
    machine.code("hlt", INNER)
    length = machine.code(f"push 1; push 2; push 3; call {GATE | 3}:0x12345")
    machine.at_level(3)
    machine.run()
    assert machine.cpu.segments.cs.selector == CODE0
    assert machine.cpu.segments.ss.selector == DATA0
    assert machine.frame(7) == [CODE + length, CODE3 | 3, 3, 2, 1, STACK3 - 12, DATA3 | 3]
    assert machine.cpu.regs.rsp == STACK0 - 28


@pytest.mark.judges("RET i far")
def test_a_return_releases_the_parameters_on_both_stacks(machine: Machine) -> None:
    machine.describe(GATE, gate(CODE0, INNER, 12, 3, parameters=2))
    machine.code(f"mov eax, {DATA0}; mov ds, ax; mov es, ax; mov eax, {DATA3 | 3}; mov fs, ax; retf 8", INNER)
    machine.code(f"push 1; push 2; call {GATE}:0; mov ebx, esp; mov ecx, ds; mov edx, fs; int 0x40")
    machine.at_level(3)
    machine.run()
    regs = machine.cpu.regs
    assert (regs.rbx, regs.rcx, regs.rdx) == (STACK3, 0, DATA3 | 3), "what the outer level may not use is null"


def test_a_16_bit_call_gate(machine: Machine) -> None:
    machine.describe(GATE, gate(CODE0, INNER, 4, 3, parameters=1))
    machine.code("hlt", INNER)
    length = machine.code(f"push 0x11112222; call {GATE}:0")
    machine.at_level(3)
    machine.run()
    assert machine.frame(5, 2) == [CODE + length, CODE3 | 3, 0x2222, STACK3 - 4, DATA3 | 3]


@pytest.mark.parametrize("target", [CODE0, CONFORMING])
@pytest.mark.parametrize("jump", [False, True])
def test_a_gate_at_the_same_level(machine: Machine, target: int, jump: bool) -> None:
    machine.describe(GATE, gate(target, INNER, 12, 0, parameters=4))
    machine.code("hlt", INNER)
    length = machine.code(f"{'jmp' if jump else 'call'} {GATE}:0")
    machine.run()
    assert (machine.cpu.regs.rip, machine.cpu.segments.cs.selector) == (INNER + 1, target)
    if jump:
        assert machine.cpu.regs.rsp == STACK0
    else:
        assert machine.frame(2) == [CODE + length, CODE0]


def test_conforming_code_keeps_the_level(machine: Machine) -> None:
    machine.code("int 0x40", INNER)
    machine.code(f"call {CONFORMING}:{INNER}")
    machine.at_level(3)
    machine.run()
    assert machine.frame(5) == [INNER + 2, CONFORMING | 3, 2, STACK3 - 8, DATA3 | 3]


def test_a_gate_to_level_1(machine: Machine) -> None:
    machine.describe(GATE, gate(CODE1, INNER, 12, 3))
    machine.code("int 0x40", INNER)
    machine.code(f"call {GATE}:0")
    machine.at_level(3)
    machine.run()
    assert machine.frame(5) == [INNER + 2, CODE1 | 1, 2, STACK1 - 16, DATA1 | 1]


BAD_GATES = {
    "gate of level 0": (gate(CODE0, INNER, 12, 0), "call", 13, GATE),
    "gate not present": (gate(CODE0, INNER, 12, 3, present=False), "call", 11, GATE),
    "null code": (gate(0, INNER, 12, 3), "call", 13, 0),
    "code beyond the table": (gate(BEYOND, INNER, 12, 3), "call", 13, BEYOND),
    "code is data": (gate(DATA0, INNER, 12, 3), "call", 13, DATA0),
    "code not present": (gate(ABSENT_CODE, INNER, 12, 3), "call", 11, ABSENT_CODE),
    "JMP to an inner level": (gate(CODE0, INNER, 12, 3), "jmp", 13, CODE0),
    "target over the limit": (gate(CODE16, 0x10000, 12, 3), "call", 13, 0),
    "an interrupt gate": (gate(CODE0, INNER, 14, 3), "call", 13, GATE),
}


@pytest.mark.parametrize("name", BAD_GATES)
def test_a_gate_that_may_not_be_passed(machine: Machine, name: str) -> None:
    data, how, vector, error = BAD_GATES[name]
    machine.describe(GATE, data)
    machine.code(f"{how} {GATE}:0")
    machine.at_level(3)
    machine.run()
    assert (machine.halted_in(), machine.frame(3)) == (vector, [error, CODE, CODE3 | 3])


@pytest.mark.parametrize("selector", [GATE, OTHER_TASK])
@pytest.mark.parametrize("how", ["call", "jmp"])
def test_the_rpl_counts_like_the_level(machine: Machine, selector: int, how: str) -> None:
    machine.describe(GATE, gate(CODE0, INNER, 12, 0))
    machine.code(f"{how} {selector | 3}:0")
    machine.run()
    assert (machine.halted_in(), machine.frame(3)) == (13, [selector, CODE, CODE0])


BAD_STACKS = {
    "null": (0, 10, 0),
    "beyond the table": (BEYOND, 10, BEYOND),
    "RPL of another level": (DATA1 | 2, 10, DATA1),
    "DPL of another level": (DATA0 | 1, 10, DATA0),
    "code": (CODE1 | 1, 10, CODE1),
    "not present": (ABSENT_STACK | 1, 12, ABSENT_STACK),
    "no room": (DATA16 | 1, 12, DATA16),
}


@pytest.mark.parametrize("by_gate", [True, False])
@pytest.mark.parametrize("name", BAD_STACKS)
def test_an_inner_stack_that_cannot_be(machine: Machine, name: str, by_gate: bool) -> None:
    """#TS and #SS name the stack's selector; an interrupt's are no external event's where the program asked for it."""
    selector, vector, error = BAD_STACKS[name]
    machine.describe(DATA16, descriptor(0, 0x100, 0xB3, 0x4))
    machine.describe(ABSENT_STACK, descriptor(0, 0xFFFFF, 0x33, 0xC))
    machine.task(TSS, ss1=selector)
    machine.describe(GATE, gate(CODE1, INNER, 12, 3))
    machine.vector(0x60, gate(CODE1, INNER, 14, 3))
    machine.code(f"call {GATE}:0" if by_gate else "int 0x60")
    machine.at_level(3)
    machine.run()
    assert (machine.halted_in(), machine.frame(3)) == (vector, [error, CODE, CODE3 | 3])
    assert machine.frame(6)[4:] == [STACK3, DATA3 | 3]


def test_a_task_segment_without_the_stack_is_an_invalid_tss(machine: Machine) -> None:
    machine.cpu.segments.tr.limit = 0x10
    machine.vector(0x60, gate(CODE1, INNER, 14, 3))
    machine.code("int 0x60")
    machine.at_level(3)
    machine.run()
    assert (machine.halted_in(), machine.frame(2)) == (10, [TASK, CODE])


def test_a_16_bit_task_segment_gives_stacks_too(machine: Machine) -> None:
    machine.put(TSS16, struct.pack("<7H", 0, 0x8800, DATA0, 0, 0, 0, 0))
    machine.code("int 0x40")
    machine.at_level(3)
    segment = machine.cpu.segments.tr
    segment.base, segment.limit, segment.access_rights = TSS16, 0x2B, 0x83
    machine.run()
    assert (machine.halted_in(), machine.cpu.regs.rsp) == (0x40, 0x8800 - 20)


@pytest.mark.parametrize(("kind", "size"), [(6, 2), (7, 2), (14, 4), (15, 4)])
@pytest.mark.parametrize("level", [0, 3])
def test_interrupt_and_trap_gates(machine: Machine, kind: int, size: int, level: int) -> None:
    machine.vector(13, gate(CODE0, INNER, kind))
    machine.code("hlt", INNER)
    machine.code(f"mov eax, {BEYOND}; mov ds, ax")
    machine.at_level(level)
    machine.cpu.regs.rflags = 2 | IF | IOPL3
    machine.run()
    mask = 0xFFFF if size == 2 else 0xFFFF_FFFF
    error, ip, cs, flags = machine.frame(4, size)
    assert (error, ip, cs) == (BEYOND, CODE + 5, CODE3 | 3 if level else CODE0)
    assert flags == (2 | IF | IOPL3 | 1 << 16) & mask
    assert bool(machine.cpu.regs.rflags & IF) == (kind & 1 == 1), "a trap gate leaves IF"
    if level:
        assert machine.frame(6, size)[4:] == [STACK3, DATA3 | 3]


EXTERNAL = {"int 0x60": 0, "int3": 0, ".byte 0xf1": 1, "ud2": 1}


@pytest.mark.parametrize("code", EXTERNAL)
def test_ext_tells_who_asked(machine: Machine, code: str) -> None:
    """Intel SDM vol. 3, "Error Code": EXT is clear where INT n, INT3 or INTO could not be delivered."""
    for number in (1, 3, 6, 0x60):
        machine.vector(number, gate(ABSENT_CODE, 0, 14, 3))
    machine.code(code)
    machine.run()
    assert (machine.halted_in(), machine.frame(2)) == (11, [ABSENT_CODE | EXTERNAL[code], CODE])


DOUBLE = {
    # what is raised first, what its delivery raises: the vector that arrives
    ("div ecx", "contributory"): 8,
    ("mov eax, 0x200; mov ds, ax", "contributory"): 8,
    ("ud2", "contributory"): 11,
    ("int3", "contributory"): 11,
    ("int 0x60", "contributory"): 11,
}


@pytest.mark.parametrize(("code", "second"), DOUBLE)
def test_what_two_events_make(machine: Machine, code: str, second: str) -> None:
    """Intel SDM vol. 3, "Double Fault Exception (#DF)", "Conditions for Generating a Double Fault"."""
    for number in (0, 3, 6, 13, 0x60):
        machine.vector(number, gate(ABSENT_CODE, 0, 14, 3))
    machine.code(f"xor ecx, ecx; {code}")
    machine.run()
    assert machine.halted_in() == DOUBLE[code, second]
    assert machine.frame(1)[0] == (0 if machine.halted_in() == 8 else machine.frame(1)[0])


def test_a_third_fault_shuts_down(machine: Machine) -> None:
    for number in (8, 13):
        machine.vector(number, gate(ABSENT_CODE, 0, 14))
    machine.vector(11, gate(CODE0, HANDLERS, 14))
    machine.code(f"jmp {BEYOND}:0")
    assert machine.cpu.run() == Shutdown()


# ---- virtual-8086 mode ----


def enter_virtual(machine: Machine, text: str, *, iopl: int = 3, flags: int = 0) -> int:
    """IRETD into 16-bit code at 0x100:0x10 (0x1010 is the IDT, so the code's segment is 0x600). The bytes of `text`."""
    size = machine.code(text, 0x3010, 16)
    values = [0x10, 0x300, VM | iopl << 12 | flags | 2, 0x4000, 0xB00, 0x111, 0x222, 0x333, 0x444]
    machine.code("; ".join(f"push {value:#x}" for value in reversed(values)) + "; iretd")
    return size


@pytest.mark.judges("IRETD")
def test_iretd_enters_virtual_8086_mode(machine: Machine) -> None:
    enter_virtual(machine, "mov ax, cs; mov bx, ss; mov cx, ds; mov dx, es; mov si, fs; mov di, gs; int 0x40")
    machine.run()
    regs = machine.cpu.regs
    assert [regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi] == [0x300, 0xB00, 0x222, 0x111, 0x333, 0x444]
    eip, cs, flags, sp, ss, *data = machine.frame(9)
    assert (eip, cs, sp, ss) == (0x10 + 14, 0x300, 0x4000, 0xB00)
    assert flags == VM | IOPL3 | 2
    assert data == [0x111, 0x222, 0x333, 0x444]
    assert machine.cpu.regs.rsp == STACK0 - 36
    for name in ("ds", "es", "fs", "gs"):
        assert getattr(machine.cpu.segments, name).selector == 0
    assert not regs.rflags & VM


def test_an_interrupt_handler_returns_to_virtual_8086_mode(machine: Machine) -> None:
    machine.code("iretd", HANDLERS + 16 * 0x41)
    enter_virtual(machine, "int 0x41; mov ax, 7; mov bx, ds; int 0x40")
    machine.run()
    assert (machine.cpu.regs.rax, machine.cpu.regs.rbx) == (7, 0x222)


def test_virtual_8086_code_has_segments_of_64_kib(machine: Machine) -> None:
    enter_virtual(
        machine, "mov ax, 0x4000; mov ds, ax; mov byte ptr [5], 9; mov al, ds:[5]; mov bx, 0xffff; mov cx, [bx]"
    )
    machine.run()
    assert machine.ram[0x40005] == 9
    assert (machine.halted_in(), machine.frame(1)) == (13, [0])


SENSITIVE = ["cli", "sti", "pushf", "popf", "int 0x40", "iret"]


@pytest.mark.parametrize("text", SENSITIVE)
def test_iopl_opens_what_is_sensitive(machine: Machine, text: str) -> None:
    """Intel SDM vol. 3, "Sensitive Instructions"."""
    enter_virtual(machine, text, iopl=0)
    machine.run()
    assert (machine.halted_in(), machine.frame(3)) == (13, [0, 0x10, 0x300])


@pytest.mark.parametrize(("text", "vector"), [("int3", 3), (".byte 0xf1", 1), ("mov al, 0x7f; inc al; into", 4)])
def test_iopl_does_not_matter_to_the_others(machine: Machine, text: str, vector: int) -> None:
    enter_virtual(machine, text, iopl=0)
    machine.run()
    assert machine.halted_in() == vector


@pytest.mark.parametrize("text", ["hlt", "lgdt [0]", "mov eax, cr0", "lmsw ax", "clts", "wrmsr"])
def test_virtual_8086_code_is_level_3(machine: Machine, text: str) -> None:
    enter_virtual(machine, text)
    machine.run()
    assert (machine.halted_in(), machine.frame(1)) == (13, [0])


@pytest.mark.parametrize(
    "text",
    ["sldt ax", "str ax", "lldt ax", "ltr ax", "lar ax, bx", "lsl ax, bx", "verr ax", "verw ax", ".byte 0x63, 0xc0"],
)
def test_what_needs_descriptors_is_undefined_there(machine: Machine, text: str) -> None:
    enter_virtual(machine, text)
    machine.run()
    assert machine.halted_in() == 6


@pytest.mark.judges("IRET")
def test_iret_within_virtual_8086_mode_keeps_iopl_and_vm(machine: Machine) -> None:
    enter_virtual(machine, "push 0x0201; push 0x300; push 0x20; iret; .org 0x10; pushf; pop ax; int 0x40")
    machine.run()
    assert machine.cpu.regs.rax & 0xF201 == 0x3201
    assert machine.frame(3)[2] & (VM | IOPL3 | IF) == VM | IOPL3 | IF


def test_ports_go_by_the_bitmap_whatever_iopl(machine: Machine) -> None:
    machine.task(TSS, trap=0x68 << 16)
    machine.put(TSS + 0x68, bytes([0xFF] * 14) + b"\xfe" + b"\xff" * 4)
    machine.cpu.segments.tr.limit = 0x68 + 18
    enter_virtual(machine, "mov al, 1; out 0x70, al; out 0x71, al")
    assert machine.cpu.run() == PortOut(0x70, 1, 1)
    machine.run()
    assert (machine.halted_in(), machine.frame(2)) == (13, [0, 0x14])


def test_a_handler_for_virtual_8086_code_must_be_of_level_0(machine: Machine) -> None:
    machine.vector(0x60, gate(CODE1, INNER, 14, 3))
    machine.vector(0x61, gate(CONFORMING, INNER, 14, 3))
    for number, selector in ((0x60, CODE1), (0x61, CONFORMING)):
        enter_virtual(machine, f"int {number:#x}")
        machine.cpu.regs.rip = CODE
        machine.at_level(0)
        machine.run()
        assert (machine.halted_in(), machine.frame(1)) == (13, [selector])


def test_a_task_may_be_one_of_virtual_8086_mode(machine: Machine) -> None:
    machine.task(OTHER_TSS, eflags=VM | 2 | IOPL3, cs=0x300, eip=0x10, ss=0xB00, esp=0x4000, ds=0x222)
    machine.code("mov ax, ds; int 0x40", 0x3010, 16)
    machine.code(f"jmp {OTHER_TASK}:0")
    machine.run()
    assert machine.cpu.regs.rax == 0x222
    assert machine.frame(3) == [0x14, 0x300, VM | 2 | IOPL3]


# ---- looking at descriptors ----

LOOKS = [
    ("lar", CODE0, 0, 0x00CF9B00),
    ("lar", CODE3, 3, 0x00CFFB00),
    ("lar", CODE0, 3, None),
    ("lar", CONFORMING, 3, 0x00CF9F00),
    ("lar", TASK, 0, 0x00008B00),
    ("lar", GATE, 0, 0x0000EC00),
    ("lar", 0, 0, None),
    ("lar", BEYOND, 0, None),
    ("lar", DATA0 | 3, 0, None),
    ("lsl", CODE0, 0, 0xFFFFFFFF),
    ("lsl", TASK, 0, 0x67),
    ("lsl", GATE, 0, None),
    ("lsl", DATA16, 0, 0xFFFF),
]


@pytest.mark.parametrize(("what", "selector", "level", "expected"), LOOKS)
def test_lar_and_lsl(machine: Machine, what: str, selector: int, level: int, expected: int | None) -> None:
    machine.describe(GATE, gate(CODE0, INNER, 12, 3))
    machine.code(f"mov ebx, {selector}; mov eax, 0x55; {what} eax, ebx; int 0x40")
    machine.at_level(level)
    machine.run()
    found = bool(machine.frame(3)[2] & 1 << 6)
    assert (found, machine.cpu.regs.rax) == ((True, expected) if expected is not None else (False, 0x55))


@pytest.mark.parametrize(
    ("what", "selector", "level", "good"),
    [("verr", CODE0, 0, True), ("verr", 0x90, 0, False), ("verr", DATA0, 3, False), ("verr", DATA3, 3, True),
     ("verw", DATA0, 0, True), ("verw", READ_ONLY, 0, False), ("verw", CODE0, 0, False), ("verr", TASK, 0, False),
     ("verr", CONFORMING, 3, True), ("verr", 0, 0, False)],
)  # fmt: skip
def test_verr_and_verw(machine: Machine, what: str, selector: int, level: int, good: bool) -> None:
    machine.code(f"mov ebx, {selector}; {what} bx; int 0x40")
    machine.at_level(level)
    machine.run()
    assert bool(machine.frame(3)[2] & 1 << 6) == good


@pytest.mark.judges("MOV sr rm16")
def test_accessed_bits_are_set_when_segments_are_loaded(machine: Machine) -> None:
    machine.describe(DATA16, descriptor(0, 0xFFFF, 0x92, 0))
    machine.describe(CODE16, descriptor(0, 0xFFFFF, 0x9A, 0xC))
    machine.code(f"mov eax, {DATA16}; mov es, ax; jmp {CODE16}:{INNER}")
    machine.code("hlt", INNER)
    machine.run()
    assert (machine.access(DATA16), machine.access(CODE16)) == (0x93, 0x9B)


@pytest.mark.judges("SYSENTER", "SYSEXIT")
def test_sysenter_and_sysexit(machine: Machine) -> None:
    for number, value in ((0x174, CODE0), (0x175, 0x8800), (0x176, INNER)):
        machine.cpu.msrs[number] = value
    machine.code("mov ebx, esp; mov edx, 0x5000; mov ecx, 0x9f00; sysexit", INNER)
    machine.code("mov esi, esp; int 0x40", 0x5000)
    machine.code("sysenter")
    machine.at_level(3)
    machine.cpu.regs.rflags = 2 | IF | IOPL3
    machine.run()
    regs = machine.cpu.regs
    assert (regs.rbx, regs.rsi) == (0x8800, 0x9F00)
    assert machine.frame(5) == [0x5004, (CODE0 + 16) | 3, 2 | IOPL3, 0x9F00, (CODE0 + 24) | 3]
