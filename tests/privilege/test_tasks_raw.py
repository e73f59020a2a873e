"""A task switch in Apple's manner is an exit. Intel SDM vol. 3, "Exit Qualification for Task Switches"."""

from __future__ import annotations

import struct

import pytest

from pyhv.framework import intel as hv
from pyhv.testing.guest import RawGuest, raw_guest

from .machine import CODE0, DATA0, GDT, IDT, OTHER_TASK, OTHER_TSS, TASK, TSS, descriptor, gate

TASK_SWITCH = 9


def enter_protected(raw: RawGuest) -> None:
    rows = {CODE0: (0, 0xFFFFF, 0x9B, 0xC), DATA0: (0, 0xFFFFF, 0x93, 0xC), TASK: (TSS, 0x67, 0x8B, 0)}
    rows[OTHER_TASK] = (OTHER_TSS, 0x67, 0x89, 0)
    for selector, row in rows.items():
        raw.ram[GDT + selector : GDT + selector + 8] = descriptor(*row)
    raw.ram[IDT + 8 * 0x60 : IDT + 8 * 0x61] = gate(OTHER_TASK, 0, 5, 3)
    raw.write(hv.VMCS_GUEST_CR0, 0x21)
    for name in ("CS", "SS", "DS", "ES", "FS", "GS"):
        raw.write(getattr(hv, f"VMCS_GUEST_{name}"), CODE0 if name == "CS" else DATA0)
        raw.write(getattr(hv, f"VMCS_GUEST_{name}_LIMIT"), 0xFFFF_FFFF)
        raw.write(getattr(hv, f"VMCS_GUEST_{name}_AR"), 0xC09B if name == "CS" else 0xC093)
        raw.write(getattr(hv, f"VMCS_GUEST_{name}_BASE"), 0)
    for name, value in (("", TASK), ("_LIMIT", 0x67), ("_AR", 0x8B), ("_BASE", TSS)):
        raw.write(getattr(hv, f"VMCS_GUEST_TR{name}"), value)
    for name, base, limit in (("GDTR", GDT, 0xFF), ("IDTR", IDT, 0x7FF)):
        raw.write(getattr(hv, f"VMCS_GUEST_{name}_BASE"), base)
        raw.write(getattr(hv, f"VMCS_GUEST_{name}_LIMIT"), limit)


@pytest.mark.parametrize(
    ("code", "source"),
    [
        ("9a 00000000 3000", 0),
        ("ea 00000000 3000", 2),
        ("cd60", 3),
    ],
    ids=["CALL", "JMP", "a task gate of the IDT"],
)
def test_a_task_switch_is_an_exit(code: str, source: int) -> None:
    with raw_guest("") as raw:
        program = bytes.fromhex(code)
        start = 0x4000
        raw.ram[start : start + len(program)] = program
        enter_protected(raw)
        raw.set(hv.HV_X86_RIP, start)
        assert raw.run() == TASK_SWITCH
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == OTHER_TASK | source << 30
        assert raw.read(hv.VMCS_RO_VMEXIT_INSTR_LEN) == len(program)
        assert raw.reg(hv.HV_X86_RIP) == start
        assert raw.read(hv.VMCS_GUEST_TR) == TASK
        assert raw.ram[GDT + OTHER_TASK + 5] == 0x89, "nothing has happened"
        vectoring = raw.read(hv.VMCS_RO_IDT_VECTOR_INFO)
        assert vectoring == (1 << 31 | 4 << 8 | 0x60 if source == 3 else 0)
        assert struct.unpack("<H", bytes(raw.ram[OTHER_TSS : OTHER_TSS + 2])) == (0,)
