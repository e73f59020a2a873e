"""Which rules hold: *strict* is what a Mac enforces, *relaxed* what the objects need. Nothing else decides by face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rules:
    """The switches by which the two faces differ."""

    name: str
    one_vm_per_process: bool
    """A second VM is Busy while the first lives."""
    bound_to_thread: bool
    """A vCPU belongs to the thread that made it, one a thread; others get BadArgument. Else.

    Whoever comes first, Busy.
    """
    close_needs_no_vcpus: bool
    """Closing a VM with live vCPUs is Busy. Else it kicks them, waits, and closes them."""
    raw_exits: bool
    """Exits as Apple gives them: RIP on the instruction, details in the VMCS, CPUID and XSETBV always exit."""
    default_engine: str
    """Whom to take when neither the caller nor $PYHV_ENGINE names an engine; empty: the best that works."""


STRICT: Final = Rules("strict", True, True, True, True, "soft")
"""Apple's functions, and the C library."""

RELAXED: Final = Rules("relaxed", False, False, False, False, "")
"""The objects."""
