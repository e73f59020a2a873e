"""Faults of a dead guest: which came first, and what came of delivering it, up to the triple fault.

Intel SDM vol. 3A, "Interrupt and Exception Handling"; "Interrupt 8—Double Fault Exception (#DF)".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pyhv import Exception as ExceptionExit
from pyhv import HvError, Unsupported, VCpu, VirtualMachine, Vmcs

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
ALL_EXCEPTIONS = 0xFFFF_FFFF
MOST_COPIED = 1 << 30  # bytes of memory
DOUBLE_FAULT, PAGE_FAULT = 8, 14
CONTRIBUTORY = {0, 10, 11, 12, 13}
BY_EVENT = 1  # of an error code that names a selector: the fault came in delivering an event
INTERRUPT_FLAG = 1 << 9
PF_PRESENT, PF_WRITE, PF_USER, PF_FETCH = 1, 2, 4, 16
PRESENT = 0x80
GATE_TYPES = {6, 7, 14, 15, 5}
LONG_MODE_ACTIVE = 1 << 10  # in EFER


@dataclass(frozen=True, slots=True)
class Fault:
    """One exception: of the instruction that the processor is on, or of the delivery of another exception."""

    vector: int
    error_code: int | None
    address: int | None

    def __str__(self) -> str:
        name = NAMES.get(self.vector, f"exception {self.vector}")
        if self.vector == PAGE_FAULT and self.error_code is not None and self.address is not None:
            return f"{name} at {self.address:#x}: {_page_fault(self.error_code)}"
        return f"{name}, error code {self.error_code:#x}" if self.error_code else name

    @property
    def short(self) -> str:
        """The name without what it means."""
        return NAMES.get(self.vector, f"exception {self.vector}").partition(" (")[0]


def _page_fault(code: int) -> str:
    what, of = ("fetch", "from") if code & PF_FETCH else ("write", "to") if code & PF_WRITE else ("read", "of")
    who = " by user code" if code & PF_USER else ""
    return f"a {what}{who} {of} a page that {'does not allow it' if code & PF_PRESENT else 'is not mapped'}"


def fault_chain(cpu: VCpu) -> list[Fault]:
    """The fault of the instruction, then that of its delivery, then that of the double fault's, as far as they go.

    The instruction is tried once more with every exception intercepted, and each delivery by itself, as that of an
    interrupt: a fault in it stays what it is. The processor is put back as it was.
    """
    chain: list[Fault] = []
    with suppress(HvError), _intercepting(cpu) as trial:
        if trial:
            _follow(trial, chain)
    return chain


@contextmanager
def _intercepting(cpu: VCpu) -> Iterator[VCpu | None]:
    """A processor in this state whose exceptions are exits: this one, or the software CPU on a copy of the memory."""
    state = cpu.state
    try:
        bitmap, cpu.controls.exception_bitmap = cpu.controls.exception_bitmap, ALL_EXCEPTIONS
    except Unsupported:
        regions = cpu.vm.space.regions()
        if sum(region.end - region.start for region in regions) > MOST_COPIED:
            yield None
            return
        with VirtualMachine("soft", apic=cpu.vm.has_interrupts) as vm, vm.vcpu() as double:
            for region in regions:
                size = region.end - region.start
                vm.map(at=region.start, size=size, perm=region.perm)[:] = cpu.vm.read(region.start, size)
            double.controls.exception_bitmap = ALL_EXCEPTIONS
            double.state = state
            yield double
        return
    try:
        yield cpu
    finally:
        cpu.controls.exception_bitmap = bitmap
        cpu.state = state


def _follow(cpu: VCpu, chain: list[Fault]) -> None:
    state = cpu.state
    fault, delivering = _fault_of(cpu.step()), -1
    while fault and len(chain) < 4:
        chain.append(fault)
        if delivering == DOUBLE_FAULT:
            break
        doubles = delivering >= 0 and _doubles(delivering, fault.vector)
        delivering = DOUBLE_FAULT if doubles else fault.vector
        cpu.state = state
        fault = _fault_of_delivery(cpu, delivering)


def delivered(chain: list[Fault]) -> list[int]:
    """The vectors whose deliveries the faults of a chain came from: of all but the first."""
    vectors: list[int] = []
    for fault in chain[:-1]:
        doubles = bool(vectors) and _doubles(vectors[-1], fault.vector)
        vectors.append(DOUBLE_FAULT if doubles else fault.vector)
    return vectors


def _doubles(first: int, second: int) -> bool:
    if first == PAGE_FAULT:
        return second in CONTRIBUTORY or second == PAGE_FAULT
    return first in CONTRIBUTORY and second in CONTRIBUTORY


def _fault_of_delivery(cpu: VCpu, vector: int) -> Fault | None:
    cpu.regs.rflags = int(cpu.regs.rflags) | INTERRUPT_FLAG
    cpu.write_vmcs(Vmcs.GUEST_INTERRUPTIBILITY, 0)
    cpu.inject(vector)
    found = _fault_of(cpu.step())
    if found and found.error_code is not None and found.vector != PAGE_FAULT:
        return Fault(found.vector, found.error_code & ~BY_EVENT, found.address)
    return found


def _fault_of(exit_: object) -> Fault | None:
    if not isinstance(exit_, ExceptionExit):
        return None
    return Fault(exit_.vector, exit_.error_code, exit_.address)


def why_no_handler(cpu: VCpu, vector: int | None, by: Fault | None = None) -> str:
    """Which of the things that an exception needs is missing: the table, its entry, the code segment, the stack.

    `by` is the fault that came of delivering it, where it is known.
    """
    idtr, entry_bytes = cpu.segments.idtr, gate_bytes(cpu)
    if idtr.limit == 0 and idtr.base == 0:
        return "no handler exists: there is no IDT (base and limit are 0)"
    if vector is not None and (vector + 1) * entry_bytes - 1 > idtr.limit:
        return f"no handler exists: the IDT ends before entry {vector} (limit {idtr.limit:#x})"
    if idtr.base == 0 and idtr.limit in {0x3FF, 0xFFFF} and entry_bytes > 4:
        return f"no handler exists: the IDT is still the vector table of real mode (base 0, limit {idtr.limit:#x})"
    if vector is not None and entry_bytes > 4:
        found = _gate_trouble(cpu, idtr.base + vector * entry_bytes, vector, entry_bytes)
        if found:
            return found
    stack = (cpu.segments.ss.base + cpu.regs.rsp - 8) & (1 << 64) - 1
    if cpu.translate(stack, write=True) is None:
        return f"the handler could not start: the stack at {stack:#x} is not mapped"
    if by:
        return f"the handler could not start: delivering it raised {by}"
    return "delivering it failed again, twice"


def gate_bytes(cpu: VCpu) -> int:
    """The size of an entry of the IDT; 4: real mode's vectors."""
    return 4 if not cpu.regs.cr0.pe else 16 if cpu.msrs["EFER"] & LONG_MODE_ACTIVE else 8


def _gate_trouble(cpu: VCpu, at: int, vector: int, size: int) -> str:
    try:
        gate = cpu.read_virtual(at, 8)
    except HvError:
        return f"no handler could be found: the IDT entry at {at:#x} is not mapped"
    if not any(gate):
        return f"no handler exists: IDT entry {vector} is empty (zeros)"
    if not gate[5] & PRESENT:
        return f"no handler exists: IDT entry {vector} is not present"
    kind = gate[5] & 0x1F
    if kind not in GATE_TYPES or (size == 16 and kind not in {14, 15}):
        return f"no handler exists: IDT entry {vector} is no gate (type {kind:#x}; an interrupt gate has 0xe)"
    if kind == 5:
        return ""
    trouble = selector_trouble(cpu, int.from_bytes(gate[2:4], "little"), size == 16)
    return f"the handler could not start: its code segment {trouble}" if trouble else ""


def selector_trouble(cpu: VCpu, selector: int, long_mode: bool) -> str:
    """What is wrong with a selector that shall name a code segment, as an end to "its code segment …"; or nothing."""
    name = f"{selector:#x}"
    if selector & ~3 == 0:
        return f"{name} is the null selector"
    if selector & 4:
        return ""  # of an LDT
    gdtr = cpu.segments.gdtr
    if (selector & ~7) + 7 > gdtr.limit:
        return f"{name} is not in the GDT (limit {gdtr.limit:#x})"
    at = gdtr.base + (selector & ~7)
    try:
        entry = cpu.read_virtual(at, 8)
    except HvError:
        return f"{name} lies in a GDT that is not mapped ({at:#x})"
    rights = entry[5]
    if rights & 0x18 != 0x18:
        return f"{name} is no code segment (GDT entry {int.from_bytes(entry, 'little'):#018x})"
    if not rights & PRESENT:
        return f"{name} is not present (GDT entry {int.from_bytes(entry, 'little'):#018x})"
    if long_mode and entry[6] & 0x60 != 0x20:
        return f"{name} is no 64-bit code segment (L is not 1, or D is not 0)"
    return ""
