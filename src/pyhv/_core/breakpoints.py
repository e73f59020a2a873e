"""`cpu.breakpoints`: where a run stops, by linear address; the guest sees nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsIndex, get_args

from ..addresses import GVA
from ..errors import BadArgument, Unsupported
from .checks import integer

if TYPE_CHECKING:
    from .vcpu import VCpu

Access = Literal["execute", "write", "read", "access"]
"""`access`: read or write."""

_KINDS: Final = get_args(Access)
_LAST: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One breakpoint: on the instruction that begins at `gva`, or on `size_bytes` of data from there on."""

    gva: GVA
    size_bytes: int = 1
    access: Access = "execute"


class Breakpoints:
    """Where a run stops: any number of addresses, as the guest's own tables map them, whatever address space is on.

    On an instruction: `run()` gives Breakpoint before it, with RIP on it; the next `run()` begins with that one.
    `step()` never stops there. On data: `run()` gives Watchpoint behind the instruction that touched them. The guest's
    debug registers are not used and not changed. Only pages that are watched become slow. On `kvm` a vCPU with
    watchpoints, or with more than four breakpoints, runs at the speed of `soft` meanwhile.
    """

    __slots__ = ("_points", "_vcpu")

    def __init__(self, vcpu: VCpu) -> None:
        self._vcpu = vcpu
        self._points: set[Point] = set()

    def add(self, gva: SupportsIndex, size_bytes: SupportsIndex = 1, access: Access = "execute") -> Point:
        """Stop at an instruction, or at accesses to `size_bytes` (1 to 4096) of data. Adding one twice is one.

        Raises BadArgument for a size or a kind that cannot be, Unsupported where the engine has no breakpoints.
        """
        point = self._checked(gva, size_bytes, access)
        self._tell(point, True)
        self._points.add(point)
        return point

    def remove(self, point: Point) -> None:
        """Take one away. Raises BadArgument when it is not there."""
        if point not in self._points:
            raise BadArgument(f"there is no {point!r}; `list(cpu.breakpoints)` shows what there is")
        self._tell(point, False)
        self._points.discard(point)

    def clear(self) -> None:
        """Take all away."""
        for point in list(self._points):
            self.remove(point)

    def __iter__(self) -> Iterator[Point]:
        return iter(sorted(self._points))

    def __len__(self) -> int:
        return len(self._points)

    def __contains__(self, point: object) -> bool:
        return point in self._points

    def __repr__(self) -> str:
        return f"<{len(self._points)} breakpoints>"

    @staticmethod
    def _checked(gva: SupportsIndex, size_bytes: SupportsIndex, access: Access) -> Point:
        if access not in _KINDS:
            raise BadArgument(f"access {access!r} is none of {', '.join(_KINDS)}")
        size = integer("size_bytes", size_bytes, low=1, high=4096)
        if access == "execute" and size != 1:
            raise BadArgument(f"a breakpoint on an instruction has size_bytes 1, its first byte, not {size}")
        first = integer("gva", gva, high=_LAST)
        if first + size - 1 > _LAST:
            raise BadArgument(f"{size} bytes from gva {first:#x} on go over the end of the address space")
        return Point(GVA(first), size, access)

    def _tell(self, point: Point, on: bool) -> None:
        engine: Any = self._vcpu.engine
        if not hasattr(engine, "set_breakpoint"):
            raise Unsupported("this engine has no breakpoints; the soft engine does")
        if point.access == "execute":
            engine.set_breakpoint(point.gva, on)
        else:
            engine.set_watchpoint(point.gva, point.size_bytes, point.access != "write", point.access != "read", on)
