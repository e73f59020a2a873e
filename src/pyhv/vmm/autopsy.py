"""Why a guest died, or what it was at, in words, from what the processor still shows."""

from __future__ import annotations

from pyhv import HvError, VCpu

from .faults import DOUBLE_FAULT, LONG_MODE_ACTIVE, NAMES, Fault, delivered, fault_chain, why_no_handler
from .hints import hint, in_zeros
from .listing import instruction_at, linear_rip

VIRTUAL_8086 = 1 << 17
STILL = 4  # so few places in a row of blocks are a loop


def explain_shutdown(cpu: VCpu) -> str:
    """A triple fault: what went wrong first, where, and why no handler could take it."""
    return tell_shutdown(cpu)[0]


def tell_shutdown(cpu: VCpu) -> tuple[str, tuple[str, ...]]:
    """The same, and how it came about: a line for each fault of the chain."""
    chain, text = fault_chain(cpu), _instruction(cpu)
    head = f"triple fault in {mode_name(cpu)}"
    if not chain:
        reason = why_no_handler(cpu, None)
        return f"{head}: no event could be delivered at {place(cpu)}{_after(text)}; {reason}", ()
    first, second = chain[0], chain[1] if len(chain) > 1 else None
    why = why_no_handler(cpu, first.vector, second)
    why += hint(cpu, text, first, linear_rip(cpu))
    said = f"{head}: the instruction at {place(cpu)}{_after(text)} raised {first}, and {why}"
    return said, tuple(_steps(cpu, chain, text))


def _steps(cpu: VCpu, chain: list[Fault], text: str) -> list[str]:
    lines = [f"{place(cpu)}{_after(text)} raised {chain[0]}"]
    vectors = delivered(chain)
    for vector, fault in zip(vectors, chain[1:], strict=True):
        name = NAMES.get(vector, f"exception {vector}").partition(" (")[0]
        lines.append(f"delivering {name} raised {fault}: {why_no_handler(cpu, vector, fault)}")
    last = " after the double fault" if DOUBLE_FAULT in vectors else ""
    return [*lines, f"a fault{last} that no handler can take shuts the processor down: a triple fault"]


def explain_fetch(cpu: VCpu, gpa: int) -> str:
    """A jump to where there is no memory."""
    at = f"at {place(cpu)} (guest-physical {gpa:#x}) there is no memory, so no instruction"
    before = linear_rip(cpu) - 2
    if before >= 0 and in_zeros(cpu, before):
        return f"it ran off the end: through zeros, which are instructions too (00 00), up to where memory ends; {at}"
    return f"a jump into nothing: {at}"


def explain_fault(cpu: VCpu, linear: int, shown: str, vector: int) -> str:
    """An exception that reached a handler of ours, in a guest that has none."""
    found = instruction_at(cpu, linear)
    text = found.text if found else ""
    fault = Fault(vector, None, None)
    why = "and the guest has no handler"
    return f"the instruction at {shown}{_after(text)} raised {fault}, {why}{hint(cpu, text, fault, linear)}"


def first_fault(cpu: VCpu) -> Fault | None:
    """Try the instruction once more with every exception intercepted, then put the processor back as it was."""
    chain = fault_chain(cpu)
    return chain[0] if chain else None


def what_it_was_at(cpu: VCpu) -> str:
    """Where a guest is that somebody else ended; a loop is told by its few places."""
    at = f"it was at {place(cpu)}{_after(_instruction(cpu))} in {mode_name(cpu)}"
    try:
        starts = [start for start, _, _ in cpu.recent()]
    except HvError:
        return at
    if len(starts) < 2 * STILL or len(set(starts)) > STILL:
        return at
    low, high = min(starts), max(starts)
    where = f"at {low:#x}" if low == high else f"between {low:#x} and {high:#x}"
    off = "" if cpu.regs.rflags.if_ else ", with interrupts off"
    return f"{at}, in a loop {where}{off}"


def mode_name(cpu: VCpu) -> str:
    """The processor's mode as people call it."""
    if not cpu.regs.cr0.pe:
        return "real mode"
    if int(cpu.regs.rflags) & VIRTUAL_8086:
        return "virtual-8086 mode"
    rights = cpu.segments.cs.access_rights
    bits = 32 if rights.db else 16
    if cpu.msrs["EFER"] & LONG_MODE_ACTIVE:
        return "64-bit mode" if rights.l else f"compatibility mode ({bits} bits)"
    return f"{bits}-bit protected mode"


def place(cpu: VCpu) -> str:
    """CS:IP in real mode, else RIP."""
    if not cpu.regs.cr0.pe:
        return f"{cpu.segments.cs.selector:04X}:{cpu.regs.rip:04X}"
    return f"{cpu.regs.rip:#x}"


def _instruction(cpu: VCpu) -> str:
    found = instruction_at(cpu, linear_rip(cpu))
    return found.text if found else ""


def _after(text: str) -> str:
    if text == "(bad)":
        return " (bytes that are no instruction)"
    return f" ({text})" if text else " (which cannot be read)"
