"""`pyhv._silicon` behind the engine protocol. A `_silicon.Cpu` is an EngineVcpu as it stands; nothing lies between."""

from __future__ import annotations

from typing import ClassVar

from ... import _silicon
from ...arch.x86_64.vmcs import CAPABILITY_WORDS
from ..base import EngineClock, EngineDirtyLog, EngineInterrupts, EngineSpace, EngineStatus, EngineVcpu, EngineVm
from ..memory_log import MemoryLog


class SoftMemory(_silicon.GuestMemory):
    """A guest-physical address space, which logs its stores itself."""

    @property
    def dirty_log(self) -> MemoryLog:
        """Its log."""
        return MemoryLog(self)


class SoftVm:
    """Guest memory and a clock; the vCPUs point to both and keep them alive."""

    def __init__(self, ns_per_instruction: float, apic: bool) -> None:
        clock = _silicon.Clock(ns_per_instruction)
        self._clock = clock
        self.clock: EngineClock = clock
        self._interrupts = interrupts = _silicon.Interrupts() if apic else None
        self.interrupts: EngineInterrupts | None = interrupts
        self._memory = memory = SoftMemory()
        self.map = memory.map
        self.unmap = memory.unmap
        self.protect = memory.protect
        self.mapped_bytes = memory.mapped_bytes
        self.read = memory.read
        self.write = memory.write
        self.dirty_log: EngineDirtyLog | None = memory.dirty_log

    def add_space(self) -> EngineSpace:
        """Another memory, for vCPUs that are sent there."""
        return SoftMemory()

    def vcpu(self, index: int, raw: bool) -> EngineVcpu:
        """A fresh vCPU on this memory and clock."""
        return _silicon.Cpu(self._memory, self._clock, index, raw, self._interrupts)

    def close(self) -> None:
        """Nothing is held that goes by itself."""


class SoftEngine:
    """Runs x86-64 guests by interpreting them."""

    name: ClassVar[str] = "soft"
    gpa_bits = _silicon.GuestMemory.GPA_BITS
    page_bytes = 4096
    max_vcpus = 64
    max_spaces = 64

    def status(self) -> EngineStatus:
        """It works wherever pyhv was built."""
        abilities = (
            "x86_64 guests",
            "no privileges",
            "every VMX control it announces",
            "single step",
            "exact instruction budgets",
            "time counted in instructions",
            "instruction trace",
            "breakpoints and watchpoints",
            "dirty logs",
            "64 address spaces a VM",
            "interrupt controllers (local APIC, I/O APIC, 8259)",
        )
        return EngineStatus(self.name, True, "", abilities)

    def create_vm(self, ns_per_instruction: float = 0.0, apic: bool = False) -> EngineVm:
        """An empty address space with its clock."""
        return SoftVm(ns_per_instruction, apic)

    def __init__(self) -> None:
        self._capabilities: dict[int, int] = {}  # kept without a lock, which a child of a fork would wait for

    def capability(self, word: int) -> int:
        """A VMX capability word; the same for every vCPU."""
        words = self._capabilities
        if not words:
            cpu = _silicon.Cpu(_silicon.GuestMemory(), _silicon.Clock(), 0, True)
            words = self._capabilities = {word: cpu.capability(word) for word in CAPABILITY_WORDS}
        return words[word]
