"""The entry of the engine over Apple's Hypervisor.framework. It cannot run guests yet; `status()` says so."""

from __future__ import annotations

import sys
from typing import ClassVar, NoReturn

from ...errors import EngineUnavailable
from ..base import EngineStatus


class AppleEngine:
    """Hypervisor.framework of macOS."""

    name: ClassVar[str] = "apple"
    gpa_bits = 0
    page_bytes = 16384
    max_vcpus = 0
    max_spaces = 0

    def status(self) -> EngineStatus:
        """Why it does not work here."""
        where = "" if sys.platform == "darwin" else f", and it needs macOS, not {sys.platform}"
        return EngineStatus(self.name, False, f"this version of pyhv has no engine over Apple's framework yet{where}")

    def create_vm(self, ns_per_instruction: float = 0.0, apic: bool = False) -> NoReturn:
        """Raises EngineUnavailable."""
        raise EngineUnavailable(self.status().reason)

    def capability(self, word: int) -> NoReturn:
        """Raises EngineUnavailable."""
        raise EngineUnavailable(self.status().reason)
