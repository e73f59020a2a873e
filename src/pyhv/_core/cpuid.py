"""The CPUID table of a vCPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .. import _silicon
from .checks import integer


class CpuidLeaf(NamedTuple):
    """What CPUID answers for EAX = `leaf`, ECX = `subleaf`. SDM vol. 2A, "CPUID"."""

    leaf: int
    subleaf: int
    eax: int
    ebx: int
    ecx: int
    edx: int


def default_cpuid() -> list[CpuidLeaf]:
    """The table of a vCPU that was given none: exactly the features that the software CPU runs."""
    return [CpuidLeaf(*row) for row in _silicon.default_cpuid()]


def checked(rows: Iterable[Sequence[int]]) -> list[tuple[int, int, int, int, int, int]]:
    """Rows of six 32-bit numbers. Raises BadArgument for a number beyond, TypeError for a row of another length."""
    table = []
    for row in rows:
        if len(row) != len(CpuidLeaf._fields):
            raise TypeError(f"a CPUID row is (leaf, subleaf, eax, ebx, ecx, edx), not {row!r}")
        named = zip(CpuidLeaf._fields, row, strict=True)
        leaf, subleaf, eax, ebx, ecx, edx = (integer(f"CPUID {name}", value, high=0xFFFF_FFFF) for name, value in named)
        table.append((leaf, subleaf, eax, ebx, ecx, edx))
    return table
