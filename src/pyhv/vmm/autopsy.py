"""Why a guest died, in words, from what the processor still shows.

Intel SDM vol. 3A, "Interrupt and Exception Handling".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyhv import Exception as ExceptionExit
from pyhv import HvError, VCpu

from .listing import instruction_at

NAMES = {
    0: "#DE (division by zero, or a quotient that does not fit)",
    1: "#DB (debug)",
    3: "#BP (INT3)",
    4: "#OF (INTO)",
    5: "#BR (BOUND)",
    6: "#UD (an instruction that this processor does not have, or not in this mode)",
    7: "#NM (FPU or SIMD while CR0 switches it off)",
    8: "#DF (double fault)",
    10: "#TS (a bad task-state segment)",
    11: "#NP (a segment that is not present)",
    12: "#SS (a stack access outside its segment, or not canonical)",
    13: "#GP (general protection)",
    14: "#PF (page fault)",
    16: "#MF (floating-point error)",
    17: "#AC (alignment)",
    18: "#MC (machine check)",
    19: "#XM (SIMD floating-point error)",
}
FLOATING = re.compile(r"^f|\b([xyz]?mm|st)\d")  # x87 mnemonics; vector and x87 registers
SYSTEM_CALLS = ("syscall", "sysenter", "int 0x80")
ALL_EXCEPTIONS = 0xFFFF_FFFF
PF_PRESENT, PF_WRITE, PF_USER, PF_FETCH = 1, 2, 4, 16
PRESENT = 0x80


@dataclass(frozen=True, slots=True)
class Fault:
    """The first fault of the chain that ended in a triple fault."""

    vector: int
    error_code: int | None
    address: int | None


def explain_shutdown(cpu: VCpu) -> str:
    """A triple fault: what went wrong first, where, and why no handler could take it."""
    fault = first_fault(cpu)
    where = f"the instruction at {place(cpu)}"
    text = _instruction(cpu)
    if fault is None:
        return f"triple fault: no event could be delivered at {place(cpu)}{_after(text)}; {why_no_handler(cpu, None)}"
    said = f"triple fault: {where}{_after(text)} raised {_describe(fault)}, and {why_no_handler(cpu, fault.vector)}"
    if fault.vector == 6 or text.startswith(SYSTEM_CALLS):
        said += _hint(text)
    return said


def explain_fetch(cpu: VCpu, gpa: int) -> str:
    """A jump to where there is no memory."""
    return f"a jump into nothing: at {place(cpu)} (guest-physical {gpa:#x}) there is no memory, so no instruction"


def first_fault(cpu: VCpu) -> Fault | None:
    """Try the instruction once more with every exception intercepted, then put the processor back as it was."""
    state, bitmap = cpu.state, cpu.controls.exception_bitmap
    try:
        cpu.controls.exception_bitmap = ALL_EXCEPTIONS
        exit_ = cpu.step()
    except HvError:
        return None
    finally:
        cpu.controls.exception_bitmap = bitmap
        cpu.state = state
    if isinstance(exit_, ExceptionExit):
        return Fault(exit_.vector, exit_.error_code, exit_.address)
    return None


def place(cpu: VCpu) -> str:
    """CS:IP in real mode, else RIP."""
    if not cpu.regs.cr0.pe:
        return f"{cpu.segments.cs.selector:04X}:{cpu.regs.rip:04X}"
    return f"{cpu.regs.rip:#x}"


def why_no_handler(cpu: VCpu, vector: int | None) -> str:
    """Which of the things that an exception needs is missing: the table, its entry, the code segment, the stack."""
    idtr = cpu.segments.idtr
    entry_bytes = 4 if not cpu.regs.cr0.pe else 16 if cpu.msrs["EFER"] & 0x400 else 8
    if idtr.limit == 0 and idtr.base == 0:
        return "no handler exists: there is no IDT (base and limit are 0)"
    if vector is not None and (vector + 1) * entry_bytes - 1 > idtr.limit:
        return f"no handler exists: the IDT ends before entry {vector} (limit {idtr.limit:#x})"
    if vector is not None and entry_bytes > 4:
        found = _gate_trouble(cpu, idtr.base + vector * entry_bytes, vector)
        if found:
            return found
    stack = (cpu.segments.ss.base + cpu.regs.rsp - 8) & (1 << 64) - 1
    if cpu.translate(stack, write=True) is None:
        return f"the handler could not start: the stack at {stack:#x} is not mapped"
    return "delivering it failed again, twice"


def _gate_trouble(cpu: VCpu, at: int, vector: int) -> str:
    try:
        gate = cpu.read_virtual(at, 8)
    except HvError:
        return f"no handler could be found: the IDT entry at {at:#x} is not mapped"
    if not gate[5] & PRESENT:
        return f"no handler exists: IDT entry {vector} is not present"
    selector = int.from_bytes(gate[2:4], "little")
    if not selector & 4 and (selector & ~7) + 7 > cpu.segments.gdtr.limit:
        return f"the handler could not start: its code segment {selector:#x} is not in the GDT"
    return ""


def _describe(fault: Fault) -> str:
    name = NAMES.get(fault.vector, f"exception {fault.vector}")
    if fault.vector == 14 and fault.error_code is not None and fault.address is not None:
        return f"{name} at {fault.address:#x}: {_page_fault(fault.error_code)}"
    return f"{name}, error code {fault.error_code:#x}" if fault.error_code else name


def _page_fault(code: int) -> str:
    how = "a fetch from" if code & PF_FETCH else "a write to" if code & PF_WRITE else "a read of"
    who = " by user code" if code & PF_USER else ""
    return f"{how} a page that {'does not allow it' if code & PF_PRESENT else 'is not mapped'}{who}"


def _instruction(cpu: VCpu) -> str:
    found = instruction_at(cpu, cpu.segments.cs.base + cpu.regs.rip)
    return found.text if found else ""


def _after(text: str) -> str:
    return f" ({text})" if text else " (which cannot be read)"


def _hint(text: str) -> str:
    if text.startswith(SYSTEM_CALLS):
        return ". A system call: this is a program for an operating system, and there is none on this machine"
    if FLOATING.search(text):
        return ". This processor has no x87 and SIMD instructions yet: build the guest with -mgeneral-regs-only"
    return ""
