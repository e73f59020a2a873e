"""VMCS field encodings and control bits that the core uses by name. SDM vol. 3D, appendix "Field Encoding in VMCS".

Every field can be reached by its number; this is the part that has a meaning in `pyhv._core`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Vmcs(IntEnum):
    """A VMCS field by its encoding."""

    TSC_OFFSET = 0x2010
    APIC_ACCESS = 0x2014
    GUEST_PHYSICAL_ADDRESS = 0x2400
    GUEST_DEBUGCTL = 0x2802
    GUEST_PAT = 0x2804
    GUEST_EFER = 0x2806
    GUEST_PDPTE0 = 0x280A
    GUEST_PDPTE1 = 0x280C
    GUEST_PDPTE2 = 0x280E
    GUEST_PDPTE3 = 0x2810
    PIN_BASED = 0x4000
    CPU_BASED = 0x4002
    EXCEPTION_BITMAP = 0x4004
    PAGE_FAULT_ERROR_MASK = 0x4006
    PAGE_FAULT_ERROR_MATCH = 0x4008
    EXIT_CONTROLS = 0x400C
    ENTRY_CONTROLS = 0x4012
    ENTRY_INTERRUPTION_INFO = 0x4016
    ENTRY_EXCEPTION_ERROR = 0x4018
    ENTRY_INSTRUCTION_LENGTH = 0x401A
    TPR_THRESHOLD = 0x401C
    CPU_BASED2 = 0x401E
    INSTRUCTION_ERROR = 0x4400
    EXIT_REASON = 0x4402
    EXIT_INTERRUPTION_INFO = 0x4404
    EXIT_INTERRUPTION_ERROR = 0x4406
    IDT_VECTORING_INFO = 0x4408
    IDT_VECTORING_ERROR = 0x440A
    EXIT_INSTRUCTION_LENGTH = 0x440C
    EXIT_INSTRUCTION_INFO = 0x440E
    GUEST_INTERRUPTIBILITY = 0x4824
    GUEST_ACTIVITY = 0x4826
    GUEST_SYSENTER_CS = 0x482A
    CR0_MASK = 0x6000
    CR4_MASK = 0x6002
    CR0_SHADOW = 0x6004
    CR4_SHADOW = 0x6006
    EXIT_QUALIFICATION = 0x6400
    GUEST_LINEAR_ADDRESS = 0x640A
    GUEST_CR0 = 0x6800
    GUEST_CR4 = 0x6804
    GUEST_GDTR_BASE = 0x6816
    GUEST_IDTR_BASE = 0x6818
    GUEST_GDTR_LIMIT = 0x4810
    GUEST_IDTR_LIMIT = 0x4812
    GUEST_PENDING_DEBUG = 0x6822
    GUEST_SYSENTER_ESP = 0x6824
    GUEST_SYSENTER_EIP = 0x6826


SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
"""The order in which the VMCS numbers segments, from 0; each group of fields steps by 2."""

_SELECTOR, _LIMIT, _RIGHTS, _BASE = 0x0800, 0x4800, 0x4814, 0x6806


def segment_fields(name: str) -> tuple[int, int, int, int]:
    """Encodings of selector, base, limit and access rights of a segment."""
    step = 2 * SEGMENTS.index(name)
    return _SELECTOR + step, _BASE + step, _LIMIT + step, _RIGHTS + step


class Cap(IntEnum):
    """A VMX capability word. Apple: hv_vmx_capability_t."""

    PIN_BASED = 0
    CPU_BASED = 1
    CPU_BASED2 = 2
    ENTRY = 3
    EXIT = 4
    CR0_FIXED0 = 11
    CR0_FIXED1 = 12
    CR4_FIXED0 = 13
    CR4_FIXED1 = 14


CAPABILITY_WORDS: Final = (*range(17), 32)
"""Every word that hv_vmx_read_capability knows."""

CONTROL_WORDS: Final = {
    Vmcs.PIN_BASED: Cap.PIN_BASED,
    Vmcs.CPU_BASED: Cap.CPU_BASED,
    Vmcs.CPU_BASED2: Cap.CPU_BASED2,
    Vmcs.ENTRY_CONTROLS: Cap.ENTRY,
    Vmcs.EXIT_CONTROLS: Cap.EXIT,
}
"""The capability word that bounds each control field: low half must be 1, high half may be 1."""


class CpuBased(IntEnum):
    """Bits of the primary processor-based controls. SDM vol. 3C, "Processor-Based VM-Execution Controls"."""

    INTERRUPT_WINDOW = 1 << 2
    TSC_OFFSET = 1 << 3
    HLT = 1 << 7
    INVLPG = 1 << 9
    MWAIT = 1 << 10
    RDPMC = 1 << 11
    RDTSC = 1 << 12
    CR3_LOAD = 1 << 15
    CR3_STORE = 1 << 16
    CR8_LOAD = 1 << 19
    CR8_STORE = 1 << 20
    NMI_WINDOW = 1 << 22
    MOV_DR = 1 << 23
    MONITOR_TRAP = 1 << 27
    MONITOR = 1 << 29
    PAUSE = 1 << 30
    SECONDARY = 1 << 31


class CpuBased2(IntEnum):
    """Bits of the secondary processor-based controls. SDM vol. 3C, same section."""

    DESCRIPTOR_TABLE = 1 << 2
    WBINVD = 1 << 6
    RDRAND = 1 << 11
    RDSEED = 1 << 16


ENTRY_IA32E: Final = 1 << 9
"""Entry control "IA-32e mode guest"; it goes with EFER.LMA."""


class Event(IntEnum):
    """What an injected event is: bits 10:8 of the interruption information."""

    INTERRUPT = 0
    NMI = 2
    EXCEPTION = 3
    SOFTWARE_INTERRUPT = 4
    PRIVILEGED_SOFTWARE_EXCEPTION = 5
    SOFTWARE_EXCEPTION = 6


ERROR_CODE_VECTORS: Final = frozenset({8, 10, 11, 12, 13, 14, 17, 21})
"""Exceptions that push an error code. SDM vol. 3A, "Exception and Interrupt Vectors"."""
