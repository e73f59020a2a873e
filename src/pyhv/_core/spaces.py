"""The guest-physical address spaces of a VM: the one that it begins with, and those that were added."""

from __future__ import annotations

import threading
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, SupportsIndex

from ..arch.x86_64.vmcs import Vmcs
from ..engines.base import EngineSpace
from ..errors import BadArgument, Busy, Closed, NoResources, Unsupported
from .checks import aligned, integer
from .dirty import DirtyLog
from .mapping import Mapping, allocated, of_buffer
from .perm import Perm
from .space import AddressSpace, HostOwner, Region

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .vcpu import VCpu
    from .vm import VirtualMachine

_NO_PAGE: Final = 0xFFFF_FFFF_FFFF_F000  # no guest-physical address goes so far


class Space:
    """One guest-physical address space of a VM: what its vCPUs see while they are in it.

    `vm.space` is the one in which vCPUs begin; `vm.add_space()` makes more, `cpu.space = other` moves a vCPU. A buffer
    may be mapped into several. As a context manager it closes. It lives no longer than its VM: then it raises Closed.
    """

    def __init__(self, vm: VirtualMachine, index: int, engine: EngineSpace | None, regions: AddressSpace) -> None:
        self.index: Final = index
        self.engine: Final = engine  # None: the one that the engine's VM begins with
        self._vm = weakref.ref(vm)
        self._regions = regions
        self._closed = False

    def _open(self) -> AddressSpace:
        self._live_vm().require_open()
        if self._closed:
            raise Closed(f"address space {self.index} was closed before this use")
        return self._regions

    def _live_vm(self) -> VirtualMachine:
        vm = self._vm()
        if vm is None:
            raise Closed(f"the VM of address space {self.index} is gone; keep the VirtualMachine")
        return vm

    def map(
        self,
        host: Buffer | None = None,
        *,
        at: SupportsIndex,
        size: SupportsIndex | None = None,
        perm: SupportsIndex = Perm.RWX,
    ) -> Mapping:
        """Back guest-physical addresses of this space with host memory; see `VirtualMachine.map`.

        Apple: hv_vm_map_space, since 10.15.
        """
        regions = self._open()
        if host is None:
            if size is None:
                raise TypeError("map() takes a buffer, or a size for new memory: map(at=0, size=1 << 20)")
            regions.check(at, size)
            mapping = allocated(integer("size", size))
        else:
            aligned("gpa", at, regions.page_bytes)
            mapping = of_buffer(host, size)
        mapping.attach(regions, at, perm)
        return mapping

    def map_host(
        self, address: int, *, at: SupportsIndex, size: SupportsIndex, perm: SupportsIndex, keep: HostOwner
    ) -> None:
        """Back guest-physical addresses with memory of this process that `keep` answers for. Apple: hv_vm_map."""
        self._open().map(at, address, size, perm, keep)

    def unmap(self, *, at: SupportsIndex, size: SupportsIndex) -> None:
        """Take whole pages away; see `VirtualMachine.unmap`. Apple: hv_vm_unmap_space, since 10.15."""
        self._open().unmap(at, size)

    def protect(self, *, at: SupportsIndex, size: SupportsIndex, perm: SupportsIndex) -> None:
        """Give other rights; see `VirtualMachine.protect`. Apple: hv_vm_protect_space, since 10.15."""
        self._open().protect(at, size, perm)

    def read(self, gpa: SupportsIndex, size: SupportsIndex) -> bytes:
        """`size` bytes of this space. Raises Fault where a page is not mapped."""
        return self._open().read(gpa, size)

    def write(self, gpa: SupportsIndex, data: Buffer) -> None:
        """Put bytes into this space, whatever the guest's own rights. Raises Fault (and writes nothing), Denied."""
        self._open().write(gpa, bytes(data))

    def dirty_log(self, *, at: SupportsIndex, size: SupportsIndex) -> DirtyLog:
        """Log which pages of a range are written, from now on; see `VirtualMachine.dirty_log`."""
        regions = self._open()
        return regions.logs.add(*regions.check(at, size))

    def mark_written(self, gpa: SupportsIndex, size_bytes: SupportsIndex = 1) -> None:
        """Count a write that went through a buffer; see `VirtualMachine.mark_written`."""
        self._open().mark_written(gpa, size_bytes)

    def regions(self) -> tuple[Region, ...]:
        """What is mapped now, lowest first."""
        return self._regions.regions()

    def shut(self) -> None:
        """Unmap everything; every later use raises Closed."""
        self._closed = True
        self._regions.close()

    def abandon(self) -> list[Region]:
        """Forget everything without touching the engine. For the child of a fork."""
        return self._regions.abandon()

    def close(self) -> None:
        """Remove it from its VM; twice is fine. Busy while a vCPU is in it, BadArgument for the VM's first space.

        Apple: hv_vm_space_destroy, since 10.15.
        """
        if not self._closed:
            self._live_vm().spaces.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = "closed" if self._closed else f"{len(self.regions())} mappings"
        return f"<Space {self.index}, {what}>"


class Spaces:
    """`vm.spaces`: the live address spaces of a VM by index."""

    def __init__(self, vm: VirtualMachine, first: AddressSpace, most: int) -> None:
        self.most: Final = most
        self._vm = weakref.ref(vm)
        self._lock = threading.Lock()
        self._live = {0: Space(vm, 0, None, first)}

    def __len__(self) -> int:
        return len(self._live)

    def __getitem__(self, index: SupportsIndex) -> Space:
        number = integer("an address space", index)
        found = self._live.get(number)
        if found is None:
            live = ", ".join(str(other) for other in sorted(self._live))
            raise BadArgument(f"there is no address space {number}; live now: {live}")
        return found

    def all(self) -> list[Space]:
        """Those that live now."""
        return list(self._live.values())

    def add(self, vm: VirtualMachine) -> Space:
        """A further one, empty, with the lowest free index. Raises NoResources beyond `most`, Unsupported."""
        if self.most == 1:
            raise Unsupported(
                f"a VM of the {vm.engine_name} engine has one guest-physical address space, of the soft engine more"
            )
        with self._lock:
            free = next((index for index in range(self.most) if index not in self._live), None)
            if free is None:
                raise NoResources(
                    f"this VM has {len(self._live)} address spaces already, which is the most that"
                    f" {vm.engine_name} can do"
                )
            space = vm.make_space(free)
            self._live[free] = space
        return space

    def remove(self, space: Space) -> None:
        """Close one. Raises Busy while a vCPU is in it; the first one stays."""
        vm = self._vm()
        with self._lock:
            if space.index == 0:
                raise BadArgument("address space 0 is the one that the VM begins with; it goes with the VM")
            inside = [str(cpu.index) for cpu in (vm.vcpus() if vm else ()) if cpu.space is space and not cpu.orphaned]
            if inside:
                raise Busy(
                    f"vCPU {', '.join(inside)} is in address space {space.index}; move every vCPU to another one first"
                )
            if self._live.get(space.index) is space:
                del self._live[space.index]
        space.shut()

    def move(self, vcpu: VCpu, space: Space) -> None:
        """Let a vCPU see another space from its next run on. Raises BadArgument for one that is not live here, Busy."""
        with self._lock:
            if self._live.get(space.index) is not space:
                raise BadArgument(f"{space!r} is no live address space of the vCPU's VM")
            vcpu.engine.set_space(space.engine)
            vcpu.entered_space(space)

    def close(self) -> None:
        """Close all, with the VM."""
        for space in self.all():
            space.shut()

    def abandon(self) -> list[object]:
        """Forget all without touching the engine, and give back what was here. For the child of a fork."""
        self._lock = threading.Lock()
        return [(space, space.engine, space.abandon()) for space in self.all()]


class ApicPages:
    """Where a vCPU's local APIC lies in each address space: only the page of the space that it is in is watched.

    Until somebody sets one the VMCS field is the client's own.
    """

    def __init__(self) -> None:
        self._pages: weakref.WeakKeyDictionary[Space, int] = weakref.WeakKeyDictionary()
        self._used = False

    def set(self, vcpu: VCpu, space: Space, gpa: int) -> None:
        """The page in one space; another space has its own, or none."""
        self._pages[space] = gpa
        self._used = True
        self.watch(vcpu)

    def watch(self, vcpu: VCpu) -> None:
        """Put the page of the vCPU's space into its VMCS."""
        if self._used:
            vcpu.engine.write_vmcs(Vmcs.APIC_ACCESS, self._pages.get(vcpu.space, _NO_PAGE))
