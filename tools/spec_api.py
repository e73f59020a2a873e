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
    until: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Enum:
    """One row of `[[enum]]`; `values` in the order of the header."""

    name: str
    doc: str
    flags: bool
    values: dict[str, int]


@dataclass(frozen=True, slots=True)
class Api:
    """One of the two files."""

    arch: str
    covers_up_to: str
    functions: tuple[Function, ...]
    enums: tuple[Enum, ...]
    integers: dict[str, tuple[int, str]]  # constants: value and doc
    pointer_typedefs: frozenset[str]


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
        until=row.get("until", ""),
        note=row.get("note", ""),
    )


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
        enums=tuple(Enum(row["name"], row["doc"], row.get("flags", False), row["values"]) for row in data["enum"]),
        integers=_integers(data["constant"]),
        pointer_typedefs=frozenset(row["name"] for row in data["typedef"] if "*" in row["type"]),
    )


def is_pointer(api: Api, ctype: str) -> bool:
    """A `*`, an array (which C passes as a pointer), or a typedef that hides one."""
    return "*" in ctype or "[" in ctype or ctype in api.pointer_typedefs
