"""The tools that hold the tree together notice what they are there for."""

from __future__ import annotations

from pathlib import Path

import pytest

import check_imports


@pytest.mark.parametrize(
    ("part", "module", "allowed"),
    [
        ("vmm", "pyhv", True),
        ("vmm", "pyhv.exits", True),
        ("vmm", "elftools.elf.elffile", True),
        ("vmm", "pyhv._core.vm", False),
        ("vmm", "pyhv._silicon", False),
        ("vmm", "pyhv.engines.soft", False),
        ("vmm", "pyhv.framework._intel_constants", False),
        ("engines", "pyhv.exits", True),
        ("engines", "pyhv.vmm.bus", False),
        ("engines", "pyhv.framework.intel", False),
        ("exits", "pyhv.addresses", True),
        ("exits", "pyhv.errors", False),
        ("_core", "typer", False),
        ("cli", "typer", True),
        ("cli", "pyhv._core", False),
    ],
)
def test_the_import_rule(part: str, module: str, allowed: bool) -> None:
    assert check_imports.may_import(part, module) is allowed


def test_an_import_only_for_types_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "pyhv"
    (package / "engines").mkdir(parents=True)
    (package / "vmm").mkdir()
    (package / "vmm" / "bus.py").touch()
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..vmm import bus\n"
    (package / "engines" / "bad.py").write_text(source)
    monkeypatch.setattr(check_imports, "ROOT", tmp_path)
    monkeypatch.setattr(check_imports, "PACKAGE", package)
    (problem,) = check_imports.python_problems()
    assert problem.startswith("src/pyhv/engines/bad.py:3: `engines` may not import `pyhv.vmm.bus`")


def test_python_in_silicon_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "silicon").mkdir()
    (tmp_path / "silicon" / "cpu.cpp").write_text("#include <vector>\n#  include <Python.h>\n")
    monkeypatch.setattr(check_imports, "ROOT", tmp_path)
    (problem,) = check_imports.native_problems()
    assert problem.startswith("silicon/cpu.cpp:2:")
