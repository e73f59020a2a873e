"""Linux's KVM as an engine: /dev/kvm through ioctl."""

from __future__ import annotations

from typing import ClassVar

from ... import _silicon
from ...errors import Denied, EngineUnavailable, HvError, Unsupported
from ..base import EngineStatus, EngineVm
from . import capabilities
from .obstacle import obstacle
from .speed import FAST, instructions_a_second
from .system import System
from .vm import KvmVm

_MOST_VCPUS = 64


class KvmEngine:
    """Linux's KVM."""

    name: ClassVar[str] = "kvm"
    page_bytes = 4096
    max_vcpus = _MOST_VCPUS
    max_spaces = 1

    def __init__(self) -> None:
        # Kept without a lock (functools.cached_property has one in Python 3.11): a child of a fork would wait for it.
        self._device: System | None = None
        self._measured: EngineStatus | None = None

    @property
    def _system(self) -> System:
        device = self._device
        if device is None:
            device = self._device = System()
        return device

    @property
    def gpa_bits(self) -> int:
        """Bits of a guest-physical address: KVM's, and no more than the software CPU's."""
        return min(self._system.gpa_bits, _silicon.GuestMemory.GPA_BITS)

    def _measure(self) -> EngineStatus:
        speed = instructions_a_second(KvmVm(self._system))
        abilities = (
            "x86_64 guests",
            "single step",
            "interrupt and NMI injection",
            "MSR exits",
            "breakpoints and watchpoints",
            "dirty logs",
            "interrupt controllers",
            "Apple's functions",
        )
        if speed >= FAST:
            return EngineStatus(self.name, True, "", ("hardware speed", *abilities))
        slow = f"works, emulated: {speed / 1e6:.1f} M instructions/s in kernel mode, so it is used only when named"
        return EngineStatus(self.name, True, "", (slow, *abilities), fast=False)

    def status(self) -> EngineStatus:
        """Whether it works here, and how fast. The first call runs a small guest."""
        reason, denied = obstacle()
        if reason:
            return EngineStatus(self.name, False, reason, denied=denied)
        try:
            if self._measured is None:
                self._measured = self._measure()
            return self._measured
        except Denied as failed:
            return EngineStatus(self.name, False, str(failed), denied=True)
        except EngineUnavailable as failed:
            return EngineStatus(self.name, False, str(failed))
        except (HvError, OSError) as failed:
            return EngineStatus(self.name, False, f"KVM is here, but does not run a guest: {failed}")

    def create_vm(self, ns_per_instruction: float = 0.0, apic: bool = False) -> EngineVm:
        """An empty address space."""
        reason, denied = obstacle()
        if reason:
            raise (Denied if denied else EngineUnavailable)(reason)
        if ns_per_instruction:
            raise Unsupported(
                "KVM does not count instructions, so time cannot be counted in them; the soft engine does"
            )
        return KvmVm(self._system, apic)

    def capability(self, word: int) -> int:
        """A VMX capability word."""
        return capabilities.capability(word)
