"""Every row of spec/api/intel.toml is a function here: by name, in the same order of arguments."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pyhv import Unsupported
from pyhv.framework import _status, intel

SPEC: dict[str, Any] = tomllib.loads((Path(__file__).parents[3] / "spec" / "api" / "intel.toml").read_text())
ROWS: list[dict[str, Any]] = SPEC["function"]


def names(row: dict[str, Any], direction: str | None = None) -> list[str]:
    """Parameter names of a row: those of one direction, or those that are not `out`."""
    directions = [(param[1], param[2] if len(param) > 2 else "") for param in row["params"]]
    return [name for name, way in directions if (way == direction if direction else way != "out")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_row_is_a_function(row: dict[str, Any]) -> None:
    function = getattr(intel, row["name"])
    assert list(inspect.signature(function).parameters) == names(row)
    assert function.__doc__


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_out_parameters_are_the_result(row: dict[str, Any]) -> None:
    results = names(row, "out")
    function = inspect.unwrap(getattr(intel, row["name"]))
    annotation = eval(function.__annotations__["return"], function.__globals__)
    if row["returns"] != "hv_return_t":
        assert annotation is int
    elif not results:
        assert annotation is None
    elif len(results) == 1:
        assert annotation is not None
        assert not hasattr(annotation, "_fields")
    else:
        assert list(annotation._fields) == results


def test_each_function_is_marked() -> None:
    everything = {row["name"] for row in ROWS}
    assert len(everything) == 81
    assert everything == intel.IMPLEMENTED | intel.LATER
    assert not intel.IMPLEMENTED & intel.LATER


def test_all_of_them_work() -> None:
    assert set() == intel.LATER


def test_what_comes_later_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_status, "LATER", set())

    @_status.later
    def hv_vm_fly(height: int) -> None:
        """Not in any framework."""

    assert {"hv_vm_fly"} == _status.LATER
    with pytest.raises(Unsupported, match="hv_vm_fly"):
        hv_vm_fly(1)


def test_every_constant_is_there() -> None:
    for enum in SPEC["enum"]:
        for name, value in enum["values"].items():
            assert getattr(intel, name) == value, name
