"""What a fault usually means: hints for whoever wrote the guest, from the instruction and what the registers hold."""

from __future__ import annotations

import re

from pyhv import HvError, VCpu

from .faults import LONG_MODE_ACTIVE, PF_PRESENT, PF_USER, PF_WRITE, Fault, selector_trouble

FLOATING = re.compile(r"^f|\b([xyz]?mm|st)\d")  # x87 mnemonics; vector and x87 registers
AVX = re.compile(r"^v[a-z]|\b[yz]mm\d")
SYSTEM_CALLS = ("syscall", "sysenter", "int 0x80")
ALIGNED = re.compile(r"^(movap[sd]|movdqa|movntp[sd]|movntdqa?|fxsave|fxrstor|xsave)")
PRIVILEGED = re.compile(
    r"^(hlt|cli|sti|in|out|ins[bwd]|outs[bwd]|lgdt|lidt|lldt|ltr|lmsw|clts|invlpg|invd|wbinvd|rdmsr|wrmsr|sysexit)\b"
    r"|^mov .*\b[cd]r\d"
)
OPERAND = re.compile(r"\[([^\]]+)\]")
PROTECTION, STACK, PAGE, DIVIDE, UNDEFINED, OFF = 13, 12, 14, 0, 6, 7
STACK_USERS = ("push", "pop", "call", "ret", "enter", "leave", "iret")
BY_IDT, BY_LDT = 2, 4  # of an error code: which table its index is of
PAGING, PROTECTED, PAE, LME, EMULATE = 1 << 31, 1, 1 << 5, 1 << 8, 1 << 2
OSFXSR, SSE2 = 1 << 9, 1 << 26
ZEROS = b"\0\0"
LETTERS = 6  # so many printable bytes in a row are text, hardly code


def hint(cpu: VCpu, text: str, fault: Fault, at: int) -> str:
    """A sentence that begins with ". ", or nothing, on what the instruction at the linear address `at` has raised."""
    found = (
        _where_it_ran(cpu, at)
        or _of_undefined(cpu, text, fault)
        or _of_stack(cpu, text, fault)
        or _of_protection(cpu, text, fault)
        or _of_page(fault)
        or ("The divisor is 0, or the quotient too large for its register" if fault.vector == DIVIDE else "")
    )
    return f". {found}" if found else ""


def in_zeros(cpu: VCpu, linear: int) -> bool:
    """Whether the two bytes there are zeros, which decode as `add [rax], al`."""
    try:
        return bytes(cpu.read_virtual(linear, 2)) == ZEROS
    except HvError:
        return False


def _where_it_ran(cpu: VCpu, at: int) -> str:
    if in_zeros(cpu, at):
        return "There are only zeros here: the guest ran off the end of its code, or jumped to where it has none"
    if _came_through_zeros(cpu, at):
        return "Before it there are only zeros: the guest ran off the end of its code, or jumped to where it has none"
    try:
        code = bytes(cpu.read_virtual(at, 32))
    except HvError:
        return ""
    text = re.match(rb"[\x20-\x7e]+", code)
    if text and len(text[0]) >= LETTERS:
        return f'The bytes here are text, "{text[0].decode()}": the guest jumped into its data'
    return ""


def _came_through_zeros(cpu: VCpu, at: int) -> bool:
    try:
        before = [start for start, _, _ in cpu.recent() if start != at]
    except HvError:
        return False
    return bool(before) and in_zeros(cpu, before[-1]) and in_zeros(cpu, at - 2)


def _of_page(fault: Fault) -> str:
    refused = PF_PRESENT | PF_USER
    if fault.vector != PAGE or fault.error_code is None or fault.error_code & refused != refused:
        return ""
    if fault.error_code & PF_WRITE:
        return "For user code to write there, bits 2 (U) and 1 (W) have to be set in the entries of all levels"
    return "For user code to get there, bit 2 (U) has to be set in the entries of all levels"


def _of_undefined(cpu: VCpu, text: str, fault: Fault) -> str:
    if text.startswith(SYSTEM_CALLS):
        return "A system call: this is a program for an operating system, and there is none on this machine"
    if fault.vector not in {UNDEFINED, OFF}:
        return ""
    if AVX.search(text):
        return "This processor has no AVX: build the guest with -mno-avx"
    if not FLOATING.search(text):
        return ""
    if int(cpu.regs.cr0) & EMULATE:
        return "CR0.EM is 1, so there is no FPU and no SIMD: the guest has to clear it"
    if fault.vector == OFF:
        return "CR0.TS is 1: the guest has to clear it (CLTS) before it uses FPU or SIMD"
    if "xmm" in text and not int(cpu.regs.cr4) & OSFXSR and _announced(cpu):
        return "CR4.OSFXSR is 0, so SSE is off: the guest has to set it, or be built with -mgeneral-regs-only"
    return "This processor does not have this instruction: build the guest for x86-64-v2, or with -mgeneral-regs-only"


def _announced(cpu: VCpu) -> bool:
    return any(leaf.leaf == 1 and leaf.edx & SSE2 for leaf in cpu.cpuid)


def _of_stack(cpu: VCpu, text: str, fault: Fault) -> str:
    top, address = int(cpu.regs.rsp), fault.address
    if fault.vector not in {STACK, PROTECTION, PAGE} or not text.startswith(STACK_USERS):
        return ""
    if fault.vector == PAGE and (address is None or (address - top + 64) % (1 << 64) > 128):
        return ""
    if fault.vector == PROTECTION and fault.error_code:
        return ""
    return f"The stack pointer is {top:#x}: the guest has set up no stack, or has run out of it"


def _of_protection(cpu: VCpu, text: str, fault: Fault) -> str:
    if fault.vector != PROTECTION:
        return ""
    if fault.error_code:
        return _of_selector(cpu, fault.error_code)
    if cpu.regs.cr0.pe and cpu.segments.cs.selector & 3 and PRIVILEGED.search(text):
        return f"A privileged instruction at privilege level {cpu.segments.cs.selector & 3}"
    if ALIGNED.search(text):
        at = address_of(cpu, text)
        where = "" if at is None else f", and it is at {at:#x}"
        return f"Its memory operand has to be at a multiple of 16{where}"
    if re.match(r"mov cr[04],", text):
        return _of_control(cpu, text)
    at = address_of(cpu, text)
    if at is not None and cpu.msrs["EFER"] & LONG_MODE_ACTIVE and (at >> 47) not in {0, 0x1FFFF}:
        return f"The address {at:#x} is not canonical: bits 63 to 47 differ"
    return ""


def _of_selector(cpu: VCpu, code: int) -> str:
    if code & BY_IDT:
        return f"INT {code >> 3:#x}: the IDT has no gate that it may use"
    if code & BY_LDT:
        return f"The selector {code:#x} is one of the LDT"
    trouble = selector_trouble(cpu, code, bool(cpu.msrs["EFER"] & LONG_MODE_ACTIVE))
    return f"The selector {trouble}" if trouble else f"The selector {code:#x} names a segment that does not fit"


def _of_control(cpu: VCpu, text: str) -> str:
    source = re.search(r", (\w+)", text)
    value = _register(cpu, source[1]) if source else None
    if value is None or not text.startswith("mov cr0"):
        return "A bit is set that is reserved here, or that the present mode does not let change"
    if value & PAGING and not value & PROTECTED:
        return "CR0.PG without CR0.PE: paging needs protected mode"
    if value & PAGING and cpu.msrs["EFER"] & LME and not int(cpu.regs.cr4) & PAE:
        return "CR0.PG with EFER.LME while CR4.PAE is 0: long mode needs PAE first"
    return "CR0 does not take this value in the present mode"


def address_of(cpu: VCpu, text: str) -> int | None:
    """The offset that the memory operand of a disassembled instruction names; None where there is none."""
    found = OPERAND.search(text)
    if not found:
        return None
    total = 0
    for sign, term in re.findall(r"([+-]?)([\w*]+)", found[1].replace(" ", "")):
        name, _, scale = term.partition("*")
        value = int(name, 0) if name[0].isdigit() else _register(cpu, name)
        if value is None:
            return None
        total += (-value if sign == "-" else value) * (int(scale, 0) if scale else 1)
    return total & (1 << 64) - 1


def _register(cpu: VCpu, name: str) -> int | None:
    wide = name if name.startswith("r") else f"r{name[1:]}" if name.startswith("e") else f"r{name}"
    try:
        value = int(getattr(cpu.regs, wide))
    except AttributeError:
        return None
    return value if name.startswith("r") else value & (0xFFFF_FFFF if name.startswith("e") else 0xFFFF)
