"""The VMX capability words of the KVM engine: what it cannot intercept must be 0, and says so."""

from __future__ import annotations

from functools import cache
from typing import Final

from ... import _silicon
from ...arch.x86_64.vmcs import CAPABILITY_WORDS, Cap, CpuBased

_LOW: Final = 0xFFFF_FFFF
_MAY: Final = {
    int(Cap.PIN_BASED): 0,
    int(Cap.CPU_BASED): CpuBased.INTERRUPT_WINDOW | CpuBased.HLT | CpuBased.SECONDARY,
    int(Cap.CPU_BASED2): 0,
}
"""Bits of the control words that may be 1 beside those that must. SDM vol. 3D, "VMX Capability Reporting Facility"."""


def capability(word: int) -> int:
    """A word; KeyError for one that there is not."""
    return _words()[word]


@cache
def _words() -> dict[int, int]:
    cpu = _silicon.Cpu(_silicon.GuestMemory(), _silicon.Clock(), 0, True)
    words = {word: cpu.capability(word) for word in CAPABILITY_WORDS}
    for word, may in _MAY.items():
        must = words[word] & _LOW
        words[word] = must | (must | may) << 32
    return words
