"""One VM of KVM: memory, clock, vCPUs."""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from fcntl import ioctl
from typing import Final

from ... import _silicon
from ...errors import BadArgument, NoResources, Unsupported
from ..base import EngineClock, EngineDirtyLog, EngineInterrupts, EngineSpace, EngineVcpu
from . import abi
from .abi import Cap, Ioctl
from .apic import ApicVcpu
from .controllers import FILTERED
from .identity import added_features, as_seen, told
from .memory import KvmMemory
from .msr_filter import deny_all, set_filter
from .probe import sees_windows, steps_user_code
from .raw import RawVcpu
from .state import TSC, known_msrs, write_msr
from .system import System
from .vcpu import KvmVcpu

Leaf = tuple[int, int, int, int, int, int]
_MOST_PIECES: Final = 64
_INDEXED: Final = frozenset({4, 7, 0xB, 0xD, 0xF, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1D, 0x1F, 0x8000_001D})


class Seat:
    """A vCPU of KVM, which lives as long as its VM: its file descriptor and its kvm_run."""

    def __init__(self, fd: int, run_bytes: int) -> None:
        self.fd = fd
        self._mapped = mmap.mmap(fd, run_bytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.run = memoryview(self._mapped)
        self.cpuid: list[Leaf] = []

    def emptied(self) -> Seat:
        """Without what its last vCPU has left that no new one sets: the access that it was closed in, breakpoints."""
        ioctl(self.fd, Ioctl.SET_GUEST_DEBUG, bytes(abi.GUEST_DEBUG.size))
        self.run[abi.IMMEDIATE_EXIT_AT] = 1
        try:
            for _ in range(_MOST_PIECES):
                ioctl(self.fd, Ioctl.RUN, 0)
        except InterruptedError:
            pass
        finally:
            self.run[abi.IMMEDIATE_EXIT_AT] = 0
        return self


class KvmClock:
    """The host's time; the TSC runs as KVM says."""

    def __init__(self, clock: _silicon.Clock, tsc_hz: int) -> None:
        self._clock, self._tsc_hz = clock, tsc_hz

    @property
    def now_ns(self) -> int:
        """Since the VM was made."""
        return self._clock.now_ns

    @property
    def tsc_hz(self) -> int:
        """Ticks a second."""
        return self._tsc_hz


class KvmVm:
    """A VM."""

    def __init__(self, system: System, apic: bool = False) -> None:
        self.system = system
        self._fd = fd = system.create_vm()
        self._fds = [fd]
        self._close = weakref.finalize(self, _close_all, self._fds)
        self._vcpus: weakref.WeakSet[KvmVcpu] = weakref.WeakSet()
        self.memory = memory = KvmMemory(fd, system.slots, _activity_of(self._vcpus))
        self.dirty_log: EngineDirtyLog | None = memory
        self.map, self.unmap, self.protect = memory.map, memory.unmap, memory.protect
        self.mapped_bytes, self.read, self.write = memory.mapped_bytes, memory.read, memory.write
        self._hub = _silicon.Interrupts() if apic else None
        self.interrupts: EngineInterrupts | None = self._hub
        self.is_trusted = False  # by whoever looks whether KVM can be
        self.silicon_clock = _silicon.Clock()
        self._next, self._parked = 0, list[Seat]()
        self._filtered, self._filtering = set[int](), threading.Lock()
        self.msrs: tuple[int, ...] = ()
        self._first: Seat | None = (first := self._new_seat())
        self.msrs = known_msrs(first.fd)
        self._clock = KvmClock(self.silicon_clock, 1000 * ioctl(first.fd, Ioctl.GET_TSC_KHZ, 0))
        self.clock: EngineClock = self._clock
        self._enable(Cap.X86_USER_SPACE_MSR, abi.MSR_REASON_ALL)
        if system.has(Cap.DISABLE_QUIRKS2) & abi.QUIRK_FIX_HYPERCALL:
            self._enable(Cap.DISABLE_QUIRKS2, abi.QUIRK_FIX_HYPERCALL)
        for msr in FILTERED if apic else ():
            self.filter_msr(msr)

    def add_space(self) -> EngineSpace:
        """There is one."""
        raise Unsupported(
            "a VM of the kvm engine has one guest-physical address space; one of the soft engine has more"
        )

    def vcpu(self, index: int, raw: bool) -> EngineVcpu:
        """A fresh vCPU."""
        if raw and self._hub is not None:
            raise Unsupported(
                "the kvm engine runs no vCPU of Apple's functions in a VM with HV_VM_ACCEL_APIC; the soft engine does"
            )
        seat = self._seat()
        twin = _silicon.Cpu(self.memory.table, self.silicon_clock, index, raw, self._hub)
        kind = RawVcpu if raw else KvmVcpu if self._hub is None else ApicVcpu
        vcpu = kind(self, seat, twin)
        self._vcpus.add(vcpu)
        table = self.system.common_cpuid(twin.get_cpuid())
        vcpu.set_cpuid(told(table, self.clock.tsc_hz // 1000, self._hub is not None))
        write_msr(seat.fd, TSC, self.clock.now_ns * self.clock.tsc_hz // 1_000_000_000)
        return vcpu

    def as_seen(self, leaves: Iterable[Leaf]) -> list[Leaf]:
        """A CPUID table as the guest sees it."""
        system = self.system
        if self.is_trusted:
            return list(leaves)
        if system.added_features is None:
            system.added_features = added_features(KvmVm(system))
        return as_seen(leaves, system.added_features)

    def steps_user_code(self) -> bool:
        """Whether this KVM single-steps at CPL 3: one that is emulated may not, and says nothing."""
        return self._system_can(steps_user_code)

    def sees_windows(self) -> bool:
        """Whether this KVM leaves where the guest can take an interrupt: one that is emulated may do so later."""
        return self._system_can(sees_windows)

    def _system_can(self, probe: Callable[[KvmVm], bool]) -> bool:
        """What a probe has found, once for the whole process."""
        if self.is_trusted:
            return True
        answers = self.system.answers
        if probe.__name__ not in answers:
            answers[probe.__name__] = probe(KvmVm(self.system))
        return answers[probe.__name__]

    def _seat(self) -> Seat:
        first, self._first = self._first, None
        if first is not None:
            return first
        if self._next < self.system.max_vcpus:
            return self._new_seat()
        if self._parked:
            return self._parked.pop().emptied()
        raise NoResources(f"KVM makes {self.system.max_vcpus} vCPUs for a VM, and all live")

    def _new_seat(self) -> Seat:
        try:
            fd = ioctl(self._fd, Ioctl.CREATE_VCPU, self._next)
        except OSError as failed:
            raise NoResources(f"KVM makes no further vCPU: {failed}") from None
        self._fds.append(fd)
        self._next += 1
        return Seat(fd, self.system.run_bytes)

    def give_back(self, seat: Seat) -> None:
        """A vCPU was closed: KVM keeps it, for the next one."""
        self._parked.append(seat)

    def set_cpuid(self, seat: Seat, leaves: Iterable[Leaf]) -> None:
        """The table of one vCPU."""
        rows = list(leaves)
        if rows == seat.cpuid:
            return
        many = {leaf for leaf, subleaf, *_ in rows if subleaf} | _INDEXED
        entries = [
            abi.CPUID_ENTRY.pack(leaf, subleaf, abi.CPUID_SIGNIFICANT_INDEX if leaf in many else 0, *answer)
            for leaf, subleaf, *answer in rows
        ]
        try:
            ioctl(seat.fd, Ioctl.SET_CPUID2, bytearray(abi.MSRS_HEAD.pack(len(rows), 0) + b"".join(entries)))
        except OSError as refused:
            raise BadArgument(
                f"KVM does not take this CPUID table (after the first run it takes none): {refused}"
            ) from None
        seat.cpuid = rows

    def filter_msr(self, msr: int) -> None:
        """Let an MSR leave on every vCPU of the VM; those that did not ask for it answer it in the engine."""
        with self._filtering:  # each sets the whole filter
            if msr not in self._filtered:
                set_filter(self._fd, self._filtered | {msr})
                self._filtered.add(msr)

    def filter_all_msrs(self) -> None:
        """Let every MSR leave on every vCPU of the VM: Apple's functions decide for each."""
        deny_all(self._fd)

    def _enable(self, cap: Cap, argument: int) -> None:
        ioctl(self._fd, Ioctl.ENABLE_CAP, abi.ENABLE_CAP.pack(cap, 0, argument, 0, 0, 0))

    def close(self) -> None:
        """The kernel frees it with the last file descriptor."""
        self._close()


def _activity_of(vcpus: weakref.WeakSet[KvmVcpu]) -> Callable[[], object]:
    """What changes when a vCPU enters KVM; None while one may be there."""

    def activity() -> object:
        now = [(vcpu.running, vcpu.exec_time_ns) for vcpu in list(vcpus)]
        return None if any(running for running, _ in now) else sum(ran for _, ran in now)

    return activity


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()
