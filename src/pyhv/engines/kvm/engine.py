"""The entry of the KVM engine. It cannot run guests yet; `status()` says so, and what the machine has."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import ClassVar, Final, NoReturn

from ...errors import EngineUnavailable
from ..base import EngineStatus

_DEVICE: Final = Path("/dev/kvm")


class KvmEngine:
    """Linux's KVM."""

    name: ClassVar[str] = "kvm"
    gpa_bits = 0
    page_bytes = 4096
    max_vcpus = 0
    max_spaces = 0

    def status(self) -> EngineStatus:
        """Why it does not work here."""
        return EngineStatus(self.name, False, f"this version of pyhv has no KVM engine yet; {_machine()}")

    def create_vm(self, ns_per_instruction: float = 0.0, apic: bool = False) -> NoReturn:
        """Raises EngineUnavailable."""
        raise EngineUnavailable(self.status().reason)

    def capability(self, word: int) -> NoReturn:
        """Raises EngineUnavailable."""
        raise EngineUnavailable(self.status().reason)


def _machine() -> str:
    if sys.platform != "linux":
        return f"and KVM needs Linux, not {sys.platform}"
    if not _DEVICE.exists():
        return f"and this machine has no {_DEVICE}"
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return f"and this process may not open {_DEVICE}"
    return f"{_DEVICE} is there and can be opened"
