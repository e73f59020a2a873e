"""`cpu.segments`: selectors and the hidden parts behind them, and the descriptor-table registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, SupportsIndex, cast

from ..arch.x86_64.layouts import AccessRights
from ..arch.x86_64.vmcs import SEGMENTS, Vmcs, segment_fields
from ..errors import BadArgument
from .checks import integer

if TYPE_CHECKING:
    from .vcpu import VCpu


_TABLES: Final = {
    "gdtr": (Vmcs.GUEST_GDTR_BASE, Vmcs.GUEST_GDTR_LIMIT),
    "idtr": (Vmcs.GUEST_IDTR_BASE, Vmcs.GUEST_IDTR_LIMIT),
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment register with its hidden part. `limit` is in bytes, inclusive; `access_rights` as the VMCS has them.

    SDM vol. 3C, "Guest Register State".
    """

    selector: int
    base: int
    limit: int
    access_rights: int


@dataclass(frozen=True, slots=True)
class Table:
    """GDTR or IDTR. `limit` is in bytes, inclusive."""

    base: int
    limit: int


class _Fields:
    """Numbers that live in VMCS fields of one vCPU."""

    __slots__ = ("_name", "_vcpu")

    def __init__(self, vcpu: VCpu, name: str) -> None:
        self._vcpu, self._name = vcpu, name

    def _read(self, field: int) -> int:
        return self._vcpu.engine.read_vmcs(field)

    def _write(self, field: int, what: str, value: SupportsIndex, bits: int) -> None:
        number = integer(f"{self._name}.{what}", value, high=(1 << bits) - 1)
        self._vcpu.engine.write_vmcs(field, number)


class SegmentRegister(_Fields):
    """One segment register. Writing the selector changes only the selector, as Apple's functions do.

    `load_real()` does both.
    """

    __slots__ = ("_access_rights", "_base", "_limit", "_selector")

    def __init__(self, vcpu: VCpu, name: str) -> None:
        super().__init__(vcpu, name)
        self._selector, self._base, self._limit, self._access_rights = segment_fields(name)

    @property
    def selector(self) -> int:
        """16 bits."""
        return self._read(self._selector)

    @selector.setter
    def selector(self, value: SupportsIndex) -> None:
        self._write(self._selector, "selector", value, 16)

    @property
    def base(self) -> int:
        """64 bits; only FS and GS use the upper half in 64-bit mode."""
        return self._read(self._base)

    @base.setter
    def base(self, value: SupportsIndex) -> None:
        self._write(self._base, "base", value, 64)

    @property
    def limit(self) -> int:
        """32 bits, in bytes, inclusive."""
        return self._read(self._limit)

    @limit.setter
    def limit(self, value: SupportsIndex) -> None:
        self._write(self._limit, "limit", value, 32)

    @property
    def access_rights(self) -> AccessRights:
        """32 bits with their names."""
        return AccessRights(self._read(self._access_rights))

    @access_rights.setter
    def access_rights(self, value: SupportsIndex) -> None:
        self._write(self._access_rights, "access_rights", value, 32)

    def get(self) -> Segment:
        """All four as one value."""
        return Segment(self.selector, self.base, self.limit, int(self.access_rights))

    def set(self, value: Segment) -> None:
        """Set all four."""
        fields = ((value.selector, 16), (value.base, 64), (value.limit, 32), (value.access_rights, 32))
        names = ("selector", "base", "limit", "access_rights")
        for name, (number, bits) in zip(names, fields, strict=True):
            integer(f"{self._name}.{name}", number, high=(1 << bits) - 1)
        self.selector, self.base, self.limit = value.selector, value.base, value.limit
        self.access_rights = value.access_rights

    def load_real(self, selector: SupportsIndex) -> None:
        """What a load in real mode does: selector, and base = selector * 16. SDM vol.

        3B, "Real-Address Mode Operation".
        """
        number = integer(f"{self._name}.selector", selector, high=0xFFFF)
        self.selector, self.base = number, number << 4

    def __repr__(self) -> str:
        value = self.get()
        return f"{self._name} {value.selector:04x} base {value.base:#x} limit {value.limit:#x} {self.access_rights!r}"


class TableRegister(_Fields):
    """GDTR or IDTR."""

    __slots__ = ("_base", "_limit")

    def __init__(self, vcpu: VCpu, name: str, base: Vmcs, limit: Vmcs) -> None:
        super().__init__(vcpu, name)
        self._base, self._limit = base, limit

    @property
    def base(self) -> int:
        """64 bits."""
        return self._read(self._base)

    @base.setter
    def base(self, value: SupportsIndex) -> None:
        self._write(self._base, "base", value, 64)

    @property
    def limit(self) -> int:
        """16 bits, in bytes, inclusive."""
        return self._read(self._limit)

    @limit.setter
    def limit(self, value: SupportsIndex) -> None:
        self._write(self._limit, "limit", value, 16)

    def get(self) -> Table:
        """Both as one value."""
        return Table(self.base, self.limit)

    def set(self, value: Table) -> None:
        """Set both."""
        integer(f"{self._name}.limit", value.limit, high=0xFFFF)
        self.base, self.limit = value.base, value.limit

    def __repr__(self) -> str:
        return f"{self._name} base {self.base:#x} limit {self.limit:#x}"


class _SegmentAttribute:
    """`segments.cs`: reads as a live SegmentRegister, takes a Segment."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, segments: Segments, owner: type | None = None) -> SegmentRegister:
        return cast(SegmentRegister, segments[self._name])

    def __set__(self, segments: Segments, value: Segment) -> None:
        if not isinstance(value, Segment):
            raise TypeError(
                f"{self._name} takes a Segment; to change one part, set {self._name}.selector, .base, .limit …"
            )
        cast(SegmentRegister, segments[self._name]).set(value)


class _TableAttribute:
    """`segments.gdtr`: reads as a live TableRegister, takes a Table."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, segments: Segments, owner: type | None = None) -> TableRegister:
        return cast(TableRegister, segments[self._name])

    def __set__(self, segments: Segments, value: Table) -> None:
        if not isinstance(value, Table):
            raise TypeError(
                f"{self._name} takes a Table(base, limit); to change one part, set {self._name}.base or .limit"
            )
        cast(TableRegister, segments[self._name]).set(value)


class Segments:
    """The segment and descriptor-table registers of one vCPU."""

    __slots__ = ("_vcpu",)

    def __init__(self, vcpu: VCpu) -> None:
        self._vcpu = vcpu

    es, cs, ss = _SegmentAttribute(), _SegmentAttribute(), _SegmentAttribute()
    ds, fs, gs = _SegmentAttribute(), _SegmentAttribute(), _SegmentAttribute()
    ldtr, tr = _SegmentAttribute(), _SegmentAttribute()
    gdtr, idtr = _TableAttribute(), _TableAttribute()

    def __getitem__(self, name: str) -> SegmentRegister | TableRegister:
        if name in SEGMENTS:
            return SegmentRegister(self._vcpu, name)
        if name in _TABLES:
            return TableRegister(self._vcpu, name, *_TABLES[name])
        raise BadArgument(f"there is no segment register {name!r}; there are {', '.join((*SEGMENTS, *_TABLES))}")

    def __repr__(self) -> str:
        return "\n".join(repr(self[name]) for name in (*SEGMENTS, *_TABLES))
