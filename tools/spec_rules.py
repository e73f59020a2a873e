"""Reads spec/api/intel_codes.toml and rules.toml, and from the source what each promise of pyhv.testing says it shows.

The source is read, not imported, so that documentation can be made before anything is built.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from spec_api import ROOT, SPEC, load

PROMISES = ROOT / "src" / "pyhv" / "testing"
SUCCESS = "HV_SUCCESS"


@dataclass(frozen=True, slots=True)
class Codes:
    """What a function returns beside HV_SUCCESS: code to when. `only_error`: it never succeeds, and why."""

    name: str
    when: dict[str, str]
    unseen: dict[str, str]
    only_error: str

    @property
    def to_show(self) -> set[str]:
        """The codes that promises must show."""
        return set(self.when) - set(self.unseen) | (set() if self.only_error else {SUCCESS})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `tests` shows it beside promises. Else `not_here`: why it does not concern us; `not_met`: why."""

    number: str
    text: str
    tests: tuple[str, ...] = ()
    not_here: str = ""
    not_met: str = ""
    partly: str = ""  # what of it is not met, where something shows the rest


@dataclass(frozen=True, slots=True)
class PromiseText:
    """A promise as its source has it."""

    name: str
    rules: tuple[str, ...]
    says: str
    covers: frozenset[tuple[str, str]]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((SPEC / name).read_text(encoding="utf-8"))


def load_codes() -> list[Codes]:
    """Of every function, in the order of the file."""
    data, owners = _read("intel_codes.toml"), {f.name for f in load("intel").functions if f.thread == "owner"}
    return [
        Codes(
            name,
            {code: _condition(code, own, data["general"], name in owners) for code, own in codes.items()},
            data["unseen"].get(name, {}),
            data["only_error"].get(name, ""),
        )
        for name, codes in data["function"].items()
    ]


def _condition(code: str, own: str | bool, general: dict[str, str], is_owner: bool) -> str:
    if own is True:
        return general[code]
    return f"{own}; {general[code]}" if code == "HV_BAD_ARGUMENT" and is_owner else str(own)


def load_rules() -> tuple[dict[str, str], list[Rule]]:
    """Titles of the parts, and all rules in order."""
    data = _read("rules.toml")
    return data["part"], [
        Rule(number, **row | {"tests": tuple(row.get("tests", ()))}) for number, row in data["rule"].items()
    ]


def load_promises() -> list[PromiseText]:
    """All promises, by module and in the order of the source."""
    return [promise for path in sorted(PROMISES.glob("[!_]*.py")) for promise in _promises_of(path.stem)]


def _promises_of(module: str) -> Iterator[PromiseText]:
    for node in _tree(module).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        if not any(isinstance(mark, ast.Name) and mark.id == "promise" for mark in node.decorator_list):
            continue
        rule, _, says = (ast.get_docstring(node) or "").partition(":")
        rules = () if rule == "objects" else tuple(part.strip() for part in rule.split(","))
        marks = [mark for mark in node.decorator_list if isinstance(mark, ast.Call)]
        covers = frozenset(outcome for mark in marks for outcome in _covered(mark))
        yield PromiseText(f"{module}.{node.name}", rules, says.strip().partition("\n")[0], covers)


def _covered(mark: ast.Call) -> Iterator[tuple[str, str]]:
    name = ast.unparse(mark.func)
    if name == "covers":
        for keyword in mark.keywords:
            for code in ast.literal_eval(keyword.value).split():
                yield str(keyword.arg), f"HV_{code}"
    elif name == "covers_each":
        table, code = mark.args
        for function in _names(table):
            yield function, f"HV_{ast.literal_eval(code)}"


def _names(table: ast.expr) -> list[str]:
    """The functions of `TABLE`, or of `TABLE | TABLE`."""
    if isinstance(table, ast.BinOp):
        return _names(table.left) + _names(table.right)
    return _tables()[ast.unparse(table)]


@cache
def _tables() -> dict[str, list[str]]:
    """The tables of `pyhv.testing.calls`: name to functions."""
    return {
        ast.unparse(node.target): [ast.literal_eval(key) for key in node.value.keys if key]
        for node in _tree("calls").body
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict)
    }


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse((PROMISES / f"{module}.py").read_text(encoding="utf-8"))
