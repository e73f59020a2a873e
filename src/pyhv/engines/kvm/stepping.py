"""Which instructions KVM does not step as the software CPU does: those the twin executes when single-stepping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...arch.x86_64.registers import Reg
from ...arch.x86_64.vmcs import Event, Vmcs, segment_fields

if TYPE_CHECKING:
    from ... import _silicon
    from .memory import KvmMemory

# SDM vol. 2A, "Instruction Format": legacy prefixes, REP among them; and the opcodes.
_PREFIXES: Final = frozenset({0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3})
_REP: Final = frozenset({0xF2, 0xF3})
_HLT: Final = 0xF4
_STRINGS: Final = frozenset({*range(0x6C, 0x70), *range(0xA4, 0xA8), *range(0xAA, 0xB0)})
_LONGEST: Final = 15
_PAGE: Final = 4096
_CS_BASE, _CS_RIGHTS = segment_fields("cs")[1], segment_fields("cs")[3]
_SS_RIGHTS = segment_fields("ss")[3]
_WAITING_TRAPS: Final = 1 << 12 | 1 << 14  # an enabled breakpoint, a single step
_SOFTWARE: Final = frozenset({Event.SOFTWARE_INTERRUPT, Event.PRIVILEGED_SOFTWARE_EXCEPTION, Event.SOFTWARE_EXCEPTION})
_NMI_BLOCKED: Final = 1 << 3
_VALID: Final = 1 << 31
_LMA, _L = 1 << 10, 1 << 13


def twin_steps(twin: _silicon.Cpu, memory: KvmMemory) -> bool:
    """Whether the next instruction is HLT (a stepping KVM hides its exit), or a string instruction with REP.

    A KVM that emulates does many iterations in one step.
    """
    repeated = False
    for byte in _code(twin, memory):
        if byte in _PREFIXES:
            repeated |= byte in _REP
        elif byte >> 4 == 4 and _in_64_bit(twin):
            continue  # REX
        else:
            return byte == _HLT or (repeated and byte in _STRINGS)
    return False


def twin_begins(twin: _silicon.Cpu) -> bool:
    """Whether something comes before the next instruction that KVM does not deliver, or not now.

    A debug trap that waits, a software interrupt or exception, an NMI that is injected though NMIs are blocked.
    """
    read = twin.read_vmcs
    if read(Vmcs.GUEST_PENDING_DEBUG) & _WAITING_TRAPS:
        return True
    event = read(Vmcs.ENTRY_INTERRUPTION_INFO)
    kind = event >> 8 & 7
    return bool(event & _VALID) and (
        kind in _SOFTWARE or (kind == Event.NMI and bool(read(Vmcs.GUEST_INTERRUPTIBILITY) & _NMI_BLOCKED))
    )


def linear_rip(twin: _silicon.Cpu) -> int:
    """Where the next instruction is, as a linear address."""
    rip = twin.read_register(Reg.RIP)
    return rip if _in_64_bit(twin) else (rip + twin.read_vmcs(_CS_BASE)) & 0xFFFF_FFFF


def privilege(twin: _silicon.Cpu) -> int:
    """CPL. SDM vol. 3, "Guest Register State": it is the DPL of SS."""
    return twin.read_vmcs(_SS_RIGHTS) >> 5 & 3


def _in_64_bit(twin: _silicon.Cpu) -> bool:
    return bool(twin.read_vmcs(Vmcs.GUEST_EFER) & _LMA and twin.read_vmcs(_CS_RIGHTS) & _L)


def _code(twin: _silicon.Cpu, memory: KvmMemory) -> bytes:
    """The bytes at RIP, up to the end of the page: a REP that begins at its very end is not looked for."""
    linear = linear_rip(twin)
    gpa = twin.translate(linear, False)
    size = min(_LONGEST, _PAGE - linear % _PAGE)
    return b"" if gpa is None or memory.mapped_bytes(gpa, size) < size else memory.read(gpa, size)
