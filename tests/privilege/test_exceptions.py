"""Every exception that an instruction of 32-bit code can raise here: vector, error code, saved state.

Intel SDM vol. 3, "Exception and Interrupt Reference"; vol. 2, the instructions' "Protected Mode Exceptions".
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from .machine import (
    ABSENT_CODE,
    ABSENT_DATA,
    ABSENT_STACK,
    ABSENT_TASK,
    BEYOND,
    CODE,
    CODE0,
    CODE3,
    CODE16,
    DATA0,
    DATA3,
    DATA16,
    DOWN,
    EXECUTE_ONLY,
    HANDLERS,
    LOCAL,
    OTHER_TASK,
    READ_ONLY,
    STACK0,
    STACK3,
    TASK,
    Machine,
    gate,
)

DE, DB, BP, OF, BR, UD, TS, NP, SS, GP = 0, 1, 3, 4, 5, 6, 10, 11, 12, 13


@dataclass(frozen=True)
class Case:
    """`before` runs, then `fault` raises. `error` None: no error code is pushed. `trap`: EIP is behind it."""

    name: str
    level: int
    before: str
    fault: str
    vector: int
    error: int | None = None
    trap: bool = False


def gp(name: str, fault: str, error: int = 0, *, level: int = 0, before: str = "") -> Case:
    return Case(name, level, before, fault, GP, error)


def loads(name: str, segment: str, selector: int, vector: int, *, level: int = 0, error: int | None = None) -> Case:
    named = selector & 0xFFFC if error is None else error
    return Case(f"{segment}: {name}", level, f"mov eax, {selector:#x}", f"mov {segment}, ax", vector, named)


TO_ABSENT = f"push {ABSENT_STACK | 3}; push 0; push {CODE3 | 3}; push 0"
FAULTS = [
    Case("DIV by zero", 0, "xor ecx, ecx", "div ecx", DE),
    Case("DIV overflow", 3, "mov edx, 5; mov ecx, 5", "div ecx", DE),
    Case("IDIV overflow", 3, "mov eax, 0x80000000; cdq; mov ecx, -1", "idiv ecx", DE),
    Case("AAM 0", 3, "", "aam 0", DE),
    Case("INT1", 0, "", ".byte 0xf1", DB, trap=True),
    Case("INT1 at level 3", 3, "", ".byte 0xf1", DB, trap=True),
    Case("INT3", 3, "", "int3", BP, trap=True),
    Case("INT 3 in two bytes", 3, "", ".byte 0xcd, 3", BP, trap=True),
    Case("INTO", 3, "mov al, 0x7f; inc al", "into", OF, trap=True),
    Case("BOUND", 3, "mov dword ptr [0xf00], 5; mov dword ptr [0xf04], 9; mov eax, 4", "bound eax, [0xf00]", BR),
    Case("UD2", 3, "", "ud2", UD),
    Case("LOCK of what cannot be locked", 0, "", ".byte 0xf0, 0x90", UD),
    Case("MOV to CS", 0, "mov eax, 8", ".byte 0x8e, 0xc8", UD),
    Case("MOV from CR1", 0, "", ".byte 0x0f, 0x20, 0xc8", UD),
    # What needs level 0 or IOPL.
    *[
        gp(f"{text} at level 3", text, level=3)
        for text in (
            "hlt",
            "cli",
            "sti",
            "clts",
            "invd",
            "wbinvd",
            "rdmsr",
            "wrmsr",
            "mov eax, cr0",
            "mov cr3, eax",
            "mov eax, dr7",
            "mov dr0, eax",
            "lgdt [0xf00]",
            "lidt [0xf00]",
            "lldt ax",
            "ltr ax",
            "lmsw ax",
            "invlpg [0]",
            "sysexit",
            "in al, 0x70",
            "out 0x70, al",
            "in eax, dx",
            "out dx, ax",
            "insb",
            "outsb",
        )
    ],
    # Limits, rights and null segments of accesses.
    gp("read through a null segment", "mov eax, [0]", before="xor eax, eax; mov ds, ax"),
    gp("write to a read-only segment", "mov [0xf00], eax", before=f"mov eax, {READ_ONLY}; mov ds, ax"),
    gp("write to code", "mov cs:[0xf00], eax"),
    gp("read of an expand-down segment below its limit", "mov al, [0x5fff]", before=f"mov eax, {DOWN}; mov ds, ax"),
    gp("read over the limit", "mov eax, [0xfffe]", before=f"mov eax, {DATA16}; mov ds, ax"),
    Case("PUSH below an expand-down stack", 3, f"mov eax, {DOWN | 3}; mov ss, ax; mov esp, 0x6002", "push eax", SS, 0),
    Case("POP over the stack's limit", 0, f"mov eax, {DATA16}; mov ss, ax; mov esp, 0xfffe", "pop eax", SS, 0),
    # Loading segment registers. Intel SDM vol. 2, "MOV—Move".
    loads("beyond the table", "ds", BEYOND, GP),
    loads("beyond the local table", "ds", 0x14, GP),
    loads("a system segment", "ds", TASK, GP),
    loads("code that cannot be read", "ds", EXECUTE_ONLY, GP),
    loads("not present", "ds", ABSENT_DATA, NP),
    loads("not present", "fs", ABSENT_CODE, NP),
    loads("of an inner level", "es", DATA0 | 3, GP, level=3),
    loads("with too high an RPL", "gs", DATA0 | 3, GP),
    loads("null", "ss", 0, GP),
    loads("read-only", "ss", READ_ONLY, GP),
    loads("code", "ss", CODE0, GP),
    loads("of an outer level", "ss", DATA3 | 3, GP),
    loads("with another RPL", "ss", DATA0 | 1, GP),
    loads("of an inner level", "ss", DATA0 | 3, GP, level=3),
    Case("SS not present", 3, f"mov eax, {ABSENT_STACK | 3}", "mov ss, ax", SS, ABSENT_STACK),
    Case("POP DS not present", 0, f"push {ABSENT_DATA}", "pop ds", NP, ABSENT_DATA),
    Case("LDS not present", 0, f"mov word ptr [0xf04], {ABSENT_DATA}", "lds eax, [0xf00]", NP, ABSENT_DATA),
    gp("LLDT of the local table", "lldt ax", 0xC, before="mov eax, 0xc"),
    gp("LLDT of data", "lldt ax", DATA0, before=f"mov eax, {DATA0}"),
    gp("LTR null", "ltr ax", 0, before="xor eax, eax"),
    gp("LTR of a busy task", "ltr ax", TASK, before=f"mov eax, {TASK}"),
    Case("LTR not present", 0, f"mov eax, {ABSENT_TASK}", "ltr ax", NP, ABSENT_TASK),
    # Far transfers. Intel SDM vol. 2, "JMP—Jump", "CALL—Call Procedure", "RET—Return From Procedure".
    gp("JMP to null", "jmp 0:0"),
    gp("JMP beyond the table", f"jmp {BEYOND}:0", BEYOND),
    gp("JMP to data", f"jmp {DATA0}:0", DATA0),
    gp("JMP to an outer level", f"jmp {CODE3 | 3}:0", CODE3),
    gp("JMP to an inner level", f"jmp {CODE0}:0", CODE0, level=3),
    gp("CALL to an inner level", f"call {CODE0}:0", CODE0, level=3),
    gp("JMP over the segment's limit", f"jmp {CODE16}:0x10000"),
    Case("JMP not present", 0, "", f"jmp {ABSENT_CODE}:0", NP, ABSENT_CODE),
    Case("CALL not present", 0, "", f"call {ABSENT_CODE}:0", NP, ABSENT_CODE),
    gp("JMP to a busy task", f"jmp {TASK}:0", TASK),
    gp("JMP to a task of level 0", f"jmp {OTHER_TASK}:0", OTHER_TASK, level=3),
    Case("JMP to a task not present", 0, "", f"jmp {ABSENT_TASK}:0", NP, ABSENT_TASK),
    gp("CALL to a local descriptor table", f"call {LOCAL}:0", LOCAL),
    gp("RETF to null", "retf", before="push 0; push 0"),
    gp("RETF to an inner level", "retf", CODE0, level=3, before=f"push {CODE0}; push 0"),
    gp("RETF to data", "retf", DATA0, before=f"push {DATA0}; push 0"),
    Case("RETF not present", 0, f"push {ABSENT_CODE}; push 0", "retf", NP, ABSENT_CODE),
    gp("RETF outward to a null stack", "retf", before=f"push 0; push 0; push {CODE3 | 3}; push 0"),
    gp("RETF outward to an inner stack", "retf", DATA0, before=f"push {DATA0 | 3}; push 0; push {CODE3 | 3}; push 0"),
    Case(
        "RETF to a stack not present",
        0,
        f"push {ABSENT_STACK | 3}; push 0; push {CODE3 | 3}; push 0",
        "retf",
        SS,
        ABSENT_STACK,
    ),
    gp("IRET to an inner level", "iretd", CODE0, level=3, before=f"pushfd; push {CODE0}; push 0"),
    gp("IRET over the limit", "iretd", before=f"pushfd; push {CODE16}; push 0x10000"),
    Case("IRET with NT to no task", 0, "pushfd; or dword ptr [esp], 0x4000; popfd", "iretd", TS, 0),
    # Software interrupts. Intel SDM vol. 2, "INT n/INTO/INT3/INT1—Call to Interrupt Procedure".
    gp("INT through a gate of level 0", "int 0x50", 0x50 * 8 + 2, level=3),
    gp("INT3 through a gate of level 0", "int3", 3 * 8 + 2, level=3),
    gp("INT of no gate", "int 0x51", 0x51 * 8 + 2),
    Case("INT not present", 0, "", "int 0x52", NP, 0x52 * 8 + 2),
    gp("INT to a null segment", "int 0x53", 0),
    gp("INT to data", "int 0x54", DATA0),
    gp("INT to an outer level", "int 0x55", CODE3),
    Case("INT to code not present", 0, "", "int 0x56", NP, ABSENT_CODE),
    gp("INT over the handler's limit", "int 0x57", 0),
    gp("INT to a busy task", "int 0x58", TASK),
    Case("INT to a task not present", 0, "", "int 0x59", NP, ABSENT_TASK),
    gp("SYSENTER without a segment", "sysenter", level=3),
]


GATES = {
    0x50: gate(CODE0, HANDLERS, 14, 0),
    0x51: bytes(8),
    0x52: gate(CODE0, HANDLERS, 14, 3, present=False),
    0x53: gate(0, HANDLERS, 14, 3),
    0x54: gate(DATA0, HANDLERS, 14, 3),
    0x55: gate(CODE3, HANDLERS, 14, 3),
    0x56: gate(ABSENT_CODE, HANDLERS, 14, 3),
    0x57: gate(CODE16, 0x10000, 14, 3),
    0x58: gate(TASK, 0, 5, 3),
    0x59: gate(ABSENT_TASK, 0, 5, 3),
}


@pytest.mark.parametrize("case", FAULTS, ids=lambda c: c.name)
def test_an_exception_comes_with_its_state(machine: Machine, case: Case) -> None:
    for number, data in GATES.items():
        machine.vector(number, data)
    if case.name == "INT3 through a gate of level 0":
        machine.vector(3, GATES[0x50])
    before = machine.code(case.before)
    whole = machine.code(f"{case.before}; {case.fault}")
    machine.at_level(case.level)
    machine.run()
    assert machine.halted_in() == case.vector
    words = machine.frame(6)
    if case.error is not None:
        assert words.pop(0) == case.error, f"error code of {case.name}"
    eip, cs, eflags, sp, ss = words[:5]
    assert eip == CODE + (whole if case.trap else before)
    assert cs == (CODE3 | 3 if case.level else CODE0)
    assert bool(eflags & 1 << 16) == (not case.trap), "RF comes with faults, not with traps"
    assert not (machine.cpu.regs.rflags & 1 << 9)
    if case.level:
        assert (sp, ss) == ((0x6002, DOWN | 3) if "esp" in case.before else (STACK3 - 4 * pushes(case), DATA3 | 3))
        assert machine.cpu.regs.rsp == STACK0 - 20 - (4 if case.error is not None else 0)


def pushes(case: Case) -> int:
    """How many there are before the fault."""
    return sum(part.strip().startswith("push") for part in case.before.split(";"))
