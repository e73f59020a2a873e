"""Memory that host and guest both see."""

from __future__ import annotations

import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Self, SupportsIndex

from .. import _silicon
from ..addresses import GPA
from ..errors import Closed, Denied, HvError, NoResources
from .checks import integer, permission
from .dirty import DirtyLog
from .host import require_mapped
from .perm import Perm
from .space import AddressSpace

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Mapping(_silicon.HostMemory):
    """Host memory mapped into a guest: a buffer on this side, guest-physical memory on the other.

    `VirtualMachine.map` makes it. It has the buffer protocol, slices like a bytearray, and `unmap()`; as a context
    manager it unmaps at the end. What the guest stores is visible here at once, and the reverse. Memory of its own
    stays readable for as long as the object lives, also after `unmap()` and after the VM is closed; somebody else's
    buffer is let go of as soon as the guest no longer sees it.
    """

    def __init__(self, buffer: Buffer | None, size: int) -> None:
        super().__init__(buffer, size)
        self._space: weakref.ref[AddressSpace] | None = None
        self._gpa, self._size_bytes, self._borrowed = 0, size, buffer is not None

    @property
    def gpa(self) -> GPA:
        """Where the guest sees the first byte."""
        return GPA(self._gpa)

    @property
    def mapped(self) -> bool:
        """Whether the guest still sees any of it."""
        space = self._live_space()
        return space is not None and any(region.owner is self for region in space.regions())

    def require(self, host: int, size: int, perm: Perm) -> None:
        """Denied when WRITE is asked over a read-only buffer."""
        if perm & Perm.WRITE and self.readonly:
            raise Denied(
                "the buffer is read-only, so the guest cannot have WRITE; perm=Perm.RX or a bytearray or mmap would do"
            )

    def released(self) -> None:
        """Let go of a buffer that is not ours."""
        if self._borrowed:
            self.close()

    def attach(self, space: AddressSpace, at: SupportsIndex, perm: SupportsIndex) -> None:
        """Show the memory to the guest of `space`; `VirtualMachine.map` calls this once."""
        space.map(at, self.address, self._size_bytes, perm, self)
        self._space, self._gpa = weakref.ref(space), integer("at", at)

    def protect(self, perm: SupportsIndex, *, offset: int = 0, size: int | None = None) -> None:
        """Give the guest other rights on all of it, or on `size` bytes from `offset` on (whole pages).

        Takes effect for running vCPUs at once. Raises BadArgument, Denied (WRITE over a read-only buffer), and Closed
        after `unmap()`. Apple: hv_vm_protect.
        """
        whole = self._size_bytes
        length = whole - offset if size is None else size
        integer("offset", offset, high=whole)
        integer("size", length, high=whole - offset)
        space = self._require_space()
        space.protect(self._gpa + offset, length, permission(perm), self)

    def dirty_log(self, *, offset: int = 0, size: int | None = None) -> DirtyLog:
        """Log which pages are written, of all of it or of `size` bytes from `offset` on (whole pages).

        What this side writes through the buffer is not counted: `VirtualMachine.mark_written` counts it. Raises
        BadArgument, Unsupported, and Closed after `unmap()`.
        """
        length = self._size_bytes - offset if size is None else size
        integer("offset", offset, high=self._size_bytes)
        integer("size", length, high=self._size_bytes - offset)
        space = self._require_space()
        return space.logs.add(*space.check(self._gpa + offset, length))

    def unmap(self) -> None:
        """Take it away from the guest. Returns when no vCPU can touch it any more; twice is fine. Apple.

        Hv_vm_unmap.
        """
        space = self._live_space()
        if space is not None:
            space.unmap_owner(self._gpa, self._size_bytes, self)
        self._space = None

    def _require_space(self) -> AddressSpace:
        space = self._live_space()
        if space is None or not self.mapped:
            raise Closed(
                f"the mapping at gpa {self._gpa:#x} was unmapped before this use; map it again with VirtualMachine.map"
            )
        return space

    def _live_space(self) -> AddressSpace | None:
        return self._space() if self._space is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unmap()

    def __repr__(self) -> str:
        where = f"gpa {self._gpa:#x}" if self.mapped else "unmapped"
        return f"<Mapping {where}, {self._size_bytes} bytes>"


class BorrowedRange:
    """Host memory that was given as an address. Whoever gave it keeps it alive; `keep` is what we know of its owner.

    What the process itself may do there is found out when it is mapped, as on a Mac: to look again whenever a page's
    rights change would cost a look through all that the process has mapped.
    """

    __slots__ = ("_found", "keep")

    def __init__(self, keep: object = None) -> None:
        self.keep = keep
        self._found: int | None = None  # rights that the process had on every page when it was mapped

    def require(self, host: int, size: int, perm: Perm) -> None:
        """The process has mapped it, with the rights that the guest is to have."""
        if self._found is None:
            self._found = int(require_mapped(host, size, perm))
        elif int(perm) & ~self._found:
            require_mapped(host, size, perm)

    def released(self) -> None:
        """Let go of the owner."""
        self.keep = None


def allocated(size: int) -> Mapping:
    """A Mapping over zeroed memory of its own. Raises NoResources where the host does not give it."""
    try:
        return Mapping(None, size)
    except (MemoryError, OSError) as failed:
        raise NoResources(f"the host does not give {size:#x} bytes of memory: {failed}") from None


def of_buffer(buffer: Buffer, size: SupportsIndex | None) -> Mapping:
    """A Mapping over the first `size` bytes of somebody's contiguous buffer; None: all of it.

    Raises TypeError for what is no buffer, HvError where it holds less than `size`.
    """
    with memoryview(buffer) as view:
        if not view.c_contiguous:
            raise TypeError("the buffer is not contiguous, so it has no single host address; map a contiguous one")
        held = view.nbytes
    wanted = held if size is None else integer("size", size)
    if wanted > held:
        raise HvError(f"size {wanted:#x} is more than the buffer holds, which is {held:#x} bytes")
    if wanted == held:
        return Mapping(buffer, wanted)
    return Mapping(memoryview(buffer).cast("B")[:wanted], wanted)
