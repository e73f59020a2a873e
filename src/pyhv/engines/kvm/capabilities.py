"""The VMX capability words of the KVM engine: what it cannot intercept must be 0, and says so."""

from __future__ import annotations

from functools import cache
from typing import Final

from ... import _silicon
from ...arch.x86_64.vmcs import CAPABILITY_WORDS, CONTROL_WORDS, Cap, CpuBased, Vmcs
from ...errors import Unsupported

NO_INTERCEPT: Final = {
    int(Vmcs.EXCEPTION_BITMAP): "exceptions",
    int(Vmcs.CR0_MASK): "changes of CR0",
    int(Vmcs.CR4_MASK): "changes of CR4",
    int(Vmcs.TSC_OFFSET): "a TSC of its own (write MSR TSC instead)",
}
"""Fields that have no capability word and must be 0, with what they ask for."""

_LOW: Final = 0xFFFF_FFFF
# Pin-based: the host takes its interrupts and NMIs in any case, and KVM keeps the guest's blocking of NMIs. A VPID
# changes nothing. RDTSCP is there by CPUID, so its control cannot be 0.
_PINS: Final = 1 << 0 | 1 << 3 | 1 << 5
_VPID, _RDTSCP = 1 << 5, 1 << 3
_MSR_BITMAPS: Final = 1 << 28
_MAY: Final = {
    int(Cap.PIN_BASED): _PINS,
    int(Cap.CPU_BASED): CpuBased.INTERRUPT_WINDOW | CpuBased.HLT | CpuBased.SECONDARY | _MSR_BITMAPS,
    int(Cap.CPU_BASED2): _VPID,
}
"""Bits of the control words that may be 1 beside those that must. SDM vol. 3D, "VMX Capability Reporting Facility"."""
_MUST: Final = {int(Cap.CPU_BASED2): _RDTSCP}
"""And bits that must be 1 beside the software CPU's."""


def capability(word: int) -> int:
    """A word; KeyError for one that there is not."""
    return _words()[word]


def check_control(field: int, value: int) -> None:
    """Raise Unsupported for bits of a control field that must be 0."""
    beyond = value & ~(capability(CONTROL_WORDS[Vmcs(field)]) >> 32)
    if beyond:
        raise Unsupported(
            f"the kvm engine cannot do bits {beyond:#x} of control field {field:#x}: its capability word has them as 0"
        )


@cache
def _words() -> dict[int, int]:
    cpu = _silicon.Cpu(_silicon.GuestMemory(), _silicon.Clock(), 0, True)
    words = {word: cpu.capability(word) for word in CAPABILITY_WORDS}
    for word, may in _MAY.items():
        must = words[word] & _LOW | _MUST.get(word, 0)
        words[word] = must | (must | may) << 32
    return words
