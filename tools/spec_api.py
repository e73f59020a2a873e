"""Reads spec/api: what the generators and the conformance tests know of Apple's API."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "spec" / "api"
DIRECTIONS = ("in", "out", "inout", "buffer")


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter; `direction` is None for what is passed by value."""

    type: str
    name: str
    direction: str | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """One row of `[[function]]`."""

    name: str
    returns: str
    params: tuple[Param, ...]
    lengths: dict[str, str]
    since: str
    group: str
    thread: str
    summary: str
    errors: tuple[str, ...] = ()
    until: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Enum:
    """One row of `[[enum]]`; `values` in the order of the header."""

    name: str
    doc: str
    flags: bool
    values: dict[str, int]
    is_c_type: bool = False  # the name is that of a C enum
    own_type: str = ""  # the name is that of this integer type, which no `[[typedef]]` gives


@dataclass(frozen=True, slots=True)
class Struct:
    """One row of `[[struct]]`: fields as [type, name], size in bytes."""

    name: str
    doc: str
    fields: tuple[tuple[str, str], ...]
    size: int


@dataclass(frozen=True, slots=True)
class Typedef:
    """One row of `[[typedef]]`."""

    type: str
    doc: str


@dataclass(frozen=True, slots=True)
class Api:
    """One of the two files."""

    arch: str
    covers_up_to: str
    functions: tuple[Function, ...]
    enums: tuple[Enum, ...]
    integers: dict[str, tuple[int, str]]  # constants: value and doc
    integer_types: dict[str, str]  # of these constants
    structs: tuple[Struct, ...]
    typedefs: dict[str, Typedef]

    @property
    def pointer_typedefs(self) -> frozenset[str]:
        """Types that hide a pointer."""
        return frozenset(name for name, typedef in self.typedefs.items() if "*" in typedef.type)


def _function(row: dict[str, Any]) -> Function:
    return Function(
        name=row["name"],
        returns=row["returns"],
        params=tuple(Param(*param) for param in row["params"]),
        lengths=row.get("lengths", {}),
        since=row["since"],
        group=row["group"],
        thread=row["thread"],
        summary=row["summary"],
        errors=tuple(row["errors"]),
        until=row.get("until", ""),
        note=row.get("note", ""),
    )


def _enum(row: dict[str, Any], typedefs: frozenset[str]) -> Enum:
    name, type_ = row["name"], row["type"]
    own = "" if row.get("anonymous") or name in typedefs or not name.endswith("_t") or "enum" in type_ else type_
    return Enum(name, row["doc"], row.get("flags", False), row["values"], type_.endswith("(C enum)"), own)


def _struct(row: dict[str, Any]) -> Struct:
    return Struct(row["name"], row["doc"], tuple((kind, name) for kind, name in row["fields"]), row["size"])


def _integers(rows: list[dict[str, Any]]) -> dict[str, tuple[int, str]]:
    numbers = (row for row in rows if row["kind"] in ("integer", "integer_hex"))
    return {row["name"]: (int(str(row["value"]), 0), row["doc"]) for row in numbers}


def load(name: str) -> Api:
    """`intel` or `apple_silicon`."""
    data = tomllib.loads((SPEC / f"{name}.toml").read_text(encoding="utf-8"))
    return Api(
        arch=data["arch"],
        covers_up_to=data["covers_up_to"],
        functions=tuple(_function(row) for row in data["function"]),
        enums=tuple(_enum(row, frozenset(t["name"] for t in data["typedef"])) for row in data["enum"]),
        integers=_integers(data["constant"]),
        integer_types={row["name"]: row["type"] for row in data["constant"]},
        structs=tuple(_struct(row) for row in data["struct"]),
        typedefs={row["name"]: Typedef(row["type"], row["doc"]) for row in data["typedef"]},
    )


def is_pointer(api: Api, ctype: str) -> bool:
    """A `*`, an array (which C passes as a pointer), or a typedef that hides one."""
    return "*" in ctype or "[" in ctype or ctype in api.pointer_typedefs
