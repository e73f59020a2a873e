"""The façade re-exports, and does nothing else."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pyhv
from pyhv import exits

SOURCE = Path(pyhv.__file__)


def test_the_facade_only_imports() -> None:
    kinds = {type(node) for node in ast.parse(SOURCE.read_text()).body}
    assert kinds == {ast.Expr, ast.ImportFrom, ast.Assign}


def test_every_exit_is_public() -> None:
    classes = [
        value for value in vars(exits).values() if isinstance(value, type) and value.__module__ == exits.__name__
    ]
    assert len(classes) > 20
    for kind in classes:
        assert getattr(pyhv, kind.__name__) is kind


def test_star_gives_all_but_what_would_hide_python() -> None:
    names = {
        alias.asname
        for node in ast.parse(SOURCE.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(pyhv.__all__) == names - {"Exception"}


def test_the_version_is_the_projects() -> None:
    project = (
        tomllib.loads((SOURCE.parents[2] / "pyproject.toml").read_text()) if SOURCE.parents[1].name == "src" else None
    )
    assert project is None or project["project"]["version"] == pyhv.__version__
