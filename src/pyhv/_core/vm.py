"""One virtual machine: an address space, a clock, and vCPUs."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, MutableMapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, SupportsIndex, cast

from ..engines import select
from ..engines.base import Engine, EngineClock, EngineVcpu, EngineVm
from ..errors import Busy, Closed, NoDevice, NoResources, Unsupported
from . import entitled, threads
from .checks import integer
from .closed import ClosedEngine
from .cpuid import checked
from .dirty import DirtyLog
from .forks import after_fork_in_child, keep_for_good
from .interrupts import Interrupts
from .mapping import Mapping
from .notifiers import Notifiers
from .perm import Perm
from .rules import RELAXED, STRICT, Rules
from .space import AddressSpace
from .spaces import Space, Spaces
from .vcpu import VCpu

if TYPE_CHECKING:
    from typing_extensions import Buffer

_STOP_SECONDS: Final = 10.0
_create = threading.Lock()
_live: weakref.WeakSet[VirtualMachine] = weakref.WeakSet()
_sole: VirtualMachine | None = None  # the VM of the process, under strict rules


class VirtualMachine:
    """A virtual machine. As a context manager it kicks its vCPUs at the end, waits for them, and closes.

    `engine`: a name (`soft`, `kvm`, `apple`), an Engine, or None for $PYHV_ENGINE or else the best that works here.
    `ns_per_instruction` > 0 counts the VM's time in executed instructions instead of taking the host's: runs repeat
    exactly. `apic`: with interrupt controllers, a local APIC for each vCPU; HLT then waits inside `run()`, and vCPUs
    but the first wait there for their start-up message. Any number may live at once. Raises EngineUnavailable,
    BadArgument for an unknown name, Unsupported for an engine without interrupt controllers, Denied where the process
    is not entitled to (`pyhv.sandbox`). Apple: hv_vm_create.
    """

    def __init__(
        self,
        engine: str | Engine | None = None,
        *,
        ns_per_instruction: float = 0.0,
        apic: bool = False,
        rules: Rules = RELAXED,
    ) -> None:
        entitled.require_hypervisor()
        chosen = engine_for(rules, engine, "soft" if ns_per_instruction > 0 else "")
        self.rules: Final = rules
        self.chosen: Final = chosen
        self.engine_name: Final = chosen.name
        self.gpa_bits: Final = chosen.gpa_bits
        self.page_bytes: Final = chosen.page_bytes
        self.max_vcpus: Final = chosen.max_vcpus
        self._closed: str | None = None
        self.notifiers: Final = Notifiers()
        self._lock = threading.Lock()
        self._vcpus: MutableMapping[int, VCpu] = {} if rules.bound_to_thread else weakref.WeakValueDictionary()
        with _create:
            if rules.one_vm_per_process:
                _require_no_other()
            self._engine: EngineVm = chosen.create_vm(ns_per_instruction, apic)
            regions = AddressSpace(self._engine, chosen.page_bytes, chosen.gpa_bits)
            self.spaces: Final = Spaces(self, regions, chosen.max_spaces)
            self._home: Final = self.spaces[0]
            _register(self)

    @property
    def clock(self) -> EngineClock:
        """The VM's time: `clock.now_ns`, and `clock.tsc_hz`."""
        return self._engine.clock

    @property
    def has_interrupts(self) -> bool:
        """Whether it has interrupt controllers: made with `apic=True`."""
        return self._engine.interrupts is not None

    @property
    def interrupts(self) -> Interrupts:
        """The interrupt controllers, for devices. Raises Unsupported for a VM that was made without `apic=True`."""
        engine = self._engine.interrupts
        if engine is None:
            raise Unsupported("this VM has no interrupt controllers: VirtualMachine(apic=True) makes one that has")
        return Interrupts(engine)

    # Memory.

    def map(
        self,
        host: Buffer | None = None,
        *,
        at: SupportsIndex,
        size: SupportsIndex | None = None,
        perm: SupportsIndex = Perm.RWX,
    ) -> Mapping:
        """Back guest-physical addresses from `at` on with host memory, and return it as a buffer.

        Without `host`: `size` bytes of zeroed memory. With it: a contiguous, page-aligned, writable buffer (read-only
        ones without WRITE in `perm`), or the first `size` bytes of it. `at` and the size are whole pages
        (`page_bytes`: 4096). Raises BadArgument, Denied (WRITE over read-only memory), HvError where something is
        mapped already. Nothing is changed then. Apple: hv_vm_map, since 10.10 (Intel), 11.0 (Apple silicon).
        """
        return self.space.map(host, at=at, size=size, perm=perm)

    def unmap(self, *, at: SupportsIndex, size: SupportsIndex) -> None:
        """Take a range of whole pages away from the guest, parts of mappings too; holes in it are passed over.

        Returns when no vCPU can touch the pages any more. Raises BadArgument, HvError when nothing in it is mapped.
        Apple: hv_vm_unmap.
        """
        self.space.unmap(at=at, size=size)

    def protect(self, *, at: SupportsIndex, size: SupportsIndex, perm: SupportsIndex) -> None:
        """Give the guest other rights on a range of whole, mapped pages. Takes effect for running vCPUs at once.

        Raises BadArgument, Denied, HvError where a page is not mapped; nothing is changed then. Apple: hv_vm_protect.
        """
        self.space.protect(at=at, size=size, perm=perm)

    def read(self, gpa: SupportsIndex, size: SupportsIndex) -> bytes:
        """`size` bytes of guest-physical memory. Raises Fault where a page is not mapped."""
        return self.space.read(gpa, size)

    def write(self, gpa: SupportsIndex, data: Buffer) -> None:
        """Put bytes into guest-physical memory, whatever the guest's own rights.

        Raises Fault (and writes nothing), Denied.
        """
        self.space.write(gpa, data)

    def dirty_log(self, *, at: SupportsIndex, size: SupportsIndex) -> DirtyLog:
        """Log which pages of a range are written, from now on: `log.take()` gives them. Mapped or not, whole pages.

        `Mapping.dirty_log` is the same for one mapping. Raises BadArgument, Unsupported for an engine that cannot.
        """
        return self.space.dirty_log(at=at, size=size)

    def mark_written(self, gpa: SupportsIndex, size_bytes: SupportsIndex = 1) -> None:
        """Say that bytes were written through a buffer, once they are: every dirty log of their pages counts it.

        Costs next to nothing where there is none. `write()` says it by itself.
        """
        self.space.mark_written(gpa, size_bytes)

    @property
    def space(self) -> Space:
        """The guest-physical address space in which vCPUs begin: what `map()` and its kin are about."""
        return self._home

    def add_space(self) -> Space:
        """A further guest-physical address space, empty; `cpu.space = it` moves a vCPU there.

        Raises NoResources beyond `spaces.most`, Unsupported where the engine has only one. Apple: hv_vm_space_create.
        """
        self.require_open()
        return self.spaces.add(self)

    def make_space(self, index: int) -> Space:
        """The object of a new address space; `add_space()` calls this."""
        engine = self._engine.add_space()
        return Space(self, index, engine, AddressSpace(engine, self.page_bytes, self.gpa_bits))

    # vCPUs.

    def vcpu(
        self,
        *,
        cpuid: Iterable[Sequence[int]] | None = None,
        cpuid_exits: bool = False,
        msr_exits: bool | Iterable[SupportsIndex] = False,
    ) -> VCpu:
        """Make a vCPU, with the lowest free index.

        `cpuid`: the table that CPUID answers from (`default_cpuid()`); `cpuid_exits`: it leaves as Cpuid.
        `msr_exits`: an MSR that the vCPU does not have is #GP for the guest (False), or leaves as MsrRead or MsrWrite
        (True); with numbers, exactly those leave. Raises NoResources beyond `max_vcpus`. Apple: hv_vcpu_create.
        """
        self.require_open()
        table = None if cpuid is None else checked(cpuid)
        exits = [] if isinstance(msr_exits, bool) else [integer("an MSR", msr, high=0xFFFF_FFFF) for msr in msr_exits]
        with self._lock:
            self.require_open()  # nobody closed it meanwhile
            token = self._free_thread()
            vcpu = self._create(self._free_index())
            if token is not None:
                vcpu.own(token)
            self._vcpus[vcpu.index] = vcpu
        if table is not None:
            vcpu.engine.set_cpuid(table)
        if cpuid_exits:
            vcpu.engine.cpuid_exits(True)
        if msr_exits is True:
            vcpu.engine.unknown_msr_exits(True)
        for msr in exits:
            vcpu.engine.msr_exits(msr, True)
        return vcpu

    def _create(self, index: int) -> VCpu:
        return VCpu(self, index, self._engine.vcpu(index, self.rules.raw_exits), self.rules)

    def _free_index(self) -> int:
        if len(self._vcpus) >= self.max_vcpus:
            for orphan in [vcpu for vcpu in self._vcpus.values() if vcpu.orphaned]:
                self._reap(orphan)
        for index in range(self.max_vcpus):
            if index not in self._vcpus:
                return index
        raise NoResources(
            f"this VM has {self.max_vcpus} vCPUs already, which is the most that {self.engine_name} can do"
        )

    def _free_thread(self) -> threads.ThreadToken | None:
        if not self.rules.bound_to_thread:
            return None
        token = threads.current()
        if token.vcpu is not None:
            raise Busy(
                f"this thread has vCPU {token.vcpu.index} already, and a thread can have one; destroy that first"
            )
        return token

    def vcpus(self) -> tuple[VCpu, ...]:
        """Those that live now, by index."""
        return tuple(vcpu for _, vcpu in sorted(self._vcpus.items()))

    def find(self, index: int) -> VCpu | None:
        """The vCPU with this index."""
        return self._vcpus.get(index)

    def forget(self, vcpu: VCpu) -> None:
        """Free the index of a closed vCPU."""
        with self._lock:
            if self._vcpus.get(vcpu.index) is vcpu:
                del self._vcpus[vcpu.index]

    def _reap(self, vcpu: VCpu) -> None:
        vcpu.shut("destroyed, because its thread had ended")
        del self._vcpus[vcpu.index]

    # Closing.

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed is not None

    def require_open(self) -> None:
        """Raise Closed when it is closed."""
        if self._closed is not None:
            raise Closed(self._closed)

    def close(self) -> None:
        """End it: vCPUs are kicked and waited for, memory is unmapped. Twice is fine. Apple: hv_vm_destroy.

        A thread that was in `run()` gets Kicked, and Closed from its next use. Under strict rules Busy while vCPUs of
        live threads are left.
        """
        with self._lock:
            if self._closed is not None:
                return
            if self.rules.close_needs_no_vcpus:
                self._require_no_vcpus()
            self._closed = "the VM was closed before this use"
            vcpus = list(self._vcpus.values())
        self._stop([vcpu.shut("closed together with its VM, before this use") for vcpu in vcpus])
        self._vcpus.clear()
        self.spaces.close()
        self._engine.close()
        self._engine = cast(EngineVm, ClosedEngine(self._closed))  # vCPUs that are still held keep their own way to it
        _forget(self)

    def _require_no_vcpus(self) -> None:
        left = [str(vcpu.index) for vcpu in self._vcpus.values() if not vcpu.orphaned]
        if left:
            raise Busy(f"the VM still has vCPU {', '.join(left)}; destroy every vCPU on its thread first")

    @staticmethod
    def _stop(engines: list[EngineVcpu]) -> None:
        """Wait for vCPUs that were kicked when they were closed. Their threads cannot enter again."""
        limit, pause = time.monotonic() + _STOP_SECONDS, 20e-6
        while any(engine.running for engine in engines):
            if time.monotonic() > limit:
                raise Busy(f"a vCPU did not leave the guest within {_STOP_SECONDS:g} s of a kick")
            time.sleep(pause)
            pause = min(2 * pause, 1e-3)

    def abandon(self) -> None:
        """Forget the engine without touching it: after fork() a VM stays with the parent."""
        why = "made before fork() and stays with the parent; make a new one in this process"
        self._closed = f"the VM was {why}"
        self._lock = threading.Lock()
        vcpus = list(self._vcpus.values())
        keep_for_good([self._engine, *self.spaces.abandon(), *(vcpu.shut(why, kick=False) for vcpu in vcpus)])
        self._engine = cast(EngineVm, ClosedEngine(self._closed))
        self._vcpus.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = "closed" if self.closed else f"{len(self._vcpus)} vCPUs, {len(self.space.regions())} mappings"
        return f"<VirtualMachine on {self.engine_name}, {what}>"


def engine_for(rules: Rules, engine: str | Engine | None = None, default: str = "") -> Engine:
    """The engine of a new VM under these rules; `default` where nobody names one, and the rules do not."""
    return select.choose(engine, rules.default_engine or default)


def sole_engine() -> Engine:
    """The engine of the VM of the process, under strict rules; without one, that which a new VM would get."""
    vm = _sole
    return engine_for(STRICT) if vm is None or vm.closed else vm.chosen


def sole_vm() -> VirtualMachine:
    """The VM of the process, under strict rules. Raises NoDevice when there is none."""
    if _sole is None or _sole._closed is not None:
        raise NoDevice("this process has no VM; hv_vm_create makes it")
    return _sole


def _require_no_other() -> None:
    if _sole is not None and not _sole.closed:
        raise Busy("this process has a VM already, and it can have one; hv_vm_destroy ends it")


def _register(vm: VirtualMachine) -> None:
    global _sole  # noqa: PLW0603 - the process has one such VM: that is the rule
    _live.add(vm)
    if vm.rules.one_vm_per_process:
        _sole = vm


def _forget(vm: VirtualMachine) -> None:
    global _sole  # noqa: PLW0603 - see _register
    _live.discard(vm)
    if _sole is vm:
        _sole = None


@after_fork_in_child
def _leave_vms_to_the_parent() -> None:
    global _create  # noqa: PLW0603 - another thread of the parent may have held it
    _create = threading.Lock()
    for vm in list(_live):
        vm.abandon()
    _live.clear()
