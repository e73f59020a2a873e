"""`cpu.segments`: selectors and the hidden parts behind them, and the descriptor-table registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, SupportsIndex, cast, overload

from ..arch.x86_64.layouts import AccessRights
from ..arch.x86_64.vmcs import SEGMENTS, Vmcs, segment_fields
from ..errors import BadArgument
from .checks import integer

if TYPE_CHECKING:
    from .vcpu import VCpu


_TABLES: Final[dict[str, dict[str, int]]] = {
    "gdtr": {"base": Vmcs.GUEST_GDTR_BASE, "limit": Vmcs.GUEST_GDTR_LIMIT},
    "idtr": {"base": Vmcs.GUEST_IDTR_BASE, "limit": Vmcs.GUEST_IDTR_LIMIT},
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


class _Part:
    """One number of a live register, in a VMCS field of its vCPU: checked for its width when set."""

    def __init__(self, bits: int, doc: str) -> None:
        self._bits, self.__doc__ = bits, doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, register: None, owner: type) -> Self: ...
    @overload
    def __get__(self, register: _Register, owner: type | None = None) -> int: ...
    def __get__(self, register: _Register | None, owner: type | None = None) -> int | Self:
        return self if register is None else register.vcpu.engine.read_vmcs(register.fields[self._name])

    def __set__(self, register: _Register, value: SupportsIndex) -> None:
        register.vcpu.engine.write_vmcs(register.fields[self._name], self.checked(register, value))

    def checked(self, register: _Register, value: SupportsIndex) -> int:
        """The number. Raises BadArgument when it is too wide."""
        return integer(f"{register.name}.{self._name}", value, high=(1 << self._bits) - 1)


class _RightsPart(_Part):
    """Access rights, read with their names."""

    @overload
    def __get__(self, register: None, owner: type) -> Self: ...
    @overload
    def __get__(self, register: _Register, owner: type | None = None) -> AccessRights: ...
    def __get__(self, register: _Register | None, owner: type | None = None) -> AccessRights | Self:
        return self if register is None else AccessRights(super().__get__(register))


class _Register:
    """A live register of several parts; `fields` says where each is."""

    __slots__ = ("fields", "name", "vcpu")

    def __init__(self, vcpu: VCpu, name: str, fields: dict[str, int]) -> None:
        self.vcpu, self.name, self.fields = vcpu, name, fields

    def _set_all(self, values: Segment | Table) -> None:
        """Check all parts, then set them."""
        numbers = {name: getattr(type(self), name).checked(self, getattr(values, name)) for name in self.fields}
        for name, number in numbers.items():
            setattr(self, name, number)


class SegmentRegister(_Register):
    """One segment register. Writing the selector changes only the selector, as Apple's functions do.

    `load_real()` does both.
    """

    __slots__ = ()

    selector = _Part(16, "16 bits.")
    base = _Part(64, "64 bits; only FS and GS use the upper half in 64-bit mode.")
    limit = _Part(32, "32 bits, in bytes, inclusive.")
    access_rights = _RightsPart(32, "32 bits with their names.")

    def __init__(self, vcpu: VCpu, name: str) -> None:
        parts = ("selector", "base", "limit", "access_rights")
        super().__init__(vcpu, name, dict(zip(parts, segment_fields(name), strict=True)))

    def get(self) -> Segment:
        """All four as one value."""
        return Segment(self.selector, self.base, self.limit, int(self.access_rights))

    def set(self, value: Segment) -> None:
        """Set all four."""
        self._set_all(value)

    def load_real(self, selector: SupportsIndex) -> None:
        """What a load in real mode does: selector, and base = selector * 16. SDM vol.

        3B, "Real-Address Mode Operation".
        """
        self.selector = selector
        self.base = int(self.selector) << 4

    def __repr__(self) -> str:
        value = self.get()
        return f"{self.name} {value.selector:04x} base {value.base:#x} limit {value.limit:#x} {self.access_rights!r}"


class TableRegister(_Register):
    """GDTR or IDTR."""

    __slots__ = ()

    base = _Part(64, "64 bits.")
    limit = _Part(16, "16 bits, in bytes, inclusive.")

    def get(self) -> Table:
        """Both as one value."""
        return Table(self.base, self.limit)

    def set(self, value: Table) -> None:
        """Set both."""
        self._set_all(value)

    def __repr__(self) -> str:
        return f"{self.name} base {self.base:#x} limit {self.limit:#x}"


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
            return TableRegister(self._vcpu, name, _TABLES[name])
        raise BadArgument(f"there is no segment register {name!r}; there are {', '.join((*SEGMENTS, *_TABLES))}")

    def __repr__(self) -> str:
        return "\n".join(repr(self[name]) for name in (*SEGMENTS, *_TABLES))
