"""Registers are declared, not shifted: a `Bits` class names the fields of a number, and the printout comes free.

    class Cr0(Bits, width=64):
        pe = bit(0)          # protection enable
        pg = bit(31)

    Cr0(0x8000_0001).pg      # True
    Cr0(1).replace(pg=True)  # Cr0(0x80000001: pe pg)

Bits without a name survive every operation.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, overload


class _Field:
    """Bits `high` down to `low` of a Bits value, as a read-only attribute."""

    __slots__ = ("high", "low", "mask", "name")

    def __init__(self, high: int, low: int) -> None:
        self.high, self.low = high, low
        self.mask = ((1 << (high - low + 1)) - 1) << low
        self.name = ""

    def __set_name__(self, owner: type[Bits], name: str) -> None:
        self.name = name

    def insert(self, number: int, value: int) -> int:
        """`number` with this field set to `value`."""
        if not 0 <= value <= self.mask >> self.low:
            raise ValueError(f"{self.name} takes 0 to {self.mask >> self.low:#x}, not {value:#x}")
        return number & ~self.mask | value << self.low


class Bit(_Field):
    """One bit; reads as a bool."""

    @overload
    def __get__(self, number: None, owner: type) -> Self: ...
    @overload
    def __get__(self, number: int, owner: type) -> bool: ...
    def __get__(self, number: int | None, owner: type) -> Self | bool:
        return self if number is None else int.__and__(number, self.mask) != 0


class BitRange(_Field):
    """Several bits; reads as an int."""

    @overload
    def __get__(self, number: None, owner: type) -> Self: ...
    @overload
    def __get__(self, number: int, owner: type) -> int: ...
    def __get__(self, number: int | None, owner: type) -> Self | int:
        return self if number is None else int.__and__(number, self.mask) >> self.low


def bit(position: int) -> Bit:
    """Declare one bit."""
    return Bit(position, position)


def bits(high: int, low: int) -> BitRange:
    """Declare the bits from `high` down to `low`, as manuals write them."""
    return BitRange(high, low)


class Bits(int):
    """An int of `width` bits with named fields."""

    width: ClassVar[int] = 64
    fields: ClassVar[dict[str, _Field]] = {}

    def __init_subclass__(cls, *, width: int = 64, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.width = width
        cls.fields = {name: value for name, value in vars(cls).items() if isinstance(value, _Field)}

    def replace(self, **fields: int) -> Self:
        """The same value with the named fields changed. Raises ValueError for an unknown name or a value too big."""
        number = int(self)
        for name, value in fields.items():
            if name not in self.fields:
                raise ValueError(f"{type(self).__name__} has no field {name!r}; it has {', '.join(self.fields)}")
            number = self.fields[name].insert(number, int(value))
        return type(self)(number)

    def names(self) -> list[str]:
        """The fields that are not zero: `pe`, or `iopl=3` for those of several bits."""
        shown = []
        for name, field in self.fields.items():
            value = (self & field.mask) >> field.low
            if value:
                shown.append(name if field.high == field.low else f"{name}={value:#x}")
        return shown

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self):#x}: {' '.join(self.names())})"

    def __str__(self) -> str:
        return f"{int(self):#x}"
