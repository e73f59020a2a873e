"""`hv c-flags`: what compilers and build systems read."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from pyhv.cli import c_flags
from pyhv.framework import c_library

from .conftest import Hv


def test_flags(hv: Hv) -> None:
    compiling, linking, both = (shlex.split(hv("c-flags", *part).stdout) for part in (["--cflags"], ["--libs"], []))
    assert both == compiling + linking == shlex.split(hv("c-flags", "--cflags", "--libs").stdout)
    assert compiling[0].startswith("-I")
    assert linking[-1] == "-lHypervisor"


def test_json(hv: Hv) -> None:
    about = json.loads(hv("c-flags", "--json").stdout)
    assert about["cflags"] == [f"-I{about['include']}"]
    assert about["libs"] == shlex.split(hv("c-flags", "--libs").stdout)
    assert Path(about["library"]).name == "libHypervisor.so"
    assert (Path(about["include"]) / "Hypervisor" / "hv.h").exists()
    assert (Path(about["pkg_config_path"]) / "Hypervisor.pc").exists()


def test_a_library_that_cannot_be_loaded_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "libHypervisor.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(c_library, "library", lambda: broken)
    with pytest.raises(c_library.NotInstalled, match=r"cannot be loaded .*too short.*pip install --force-reinstall"):
        c_library.require_loadable()


def test_no_library_is_an_error_and_no_flags(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Path:
        raise c_library.NotInstalled("no library here")

    monkeypatch.setattr(c_flags, "library", missing)
    with pytest.raises(c_flags.HvFailure, match="no library here") as failed:
        c_flags.c_flags()
    assert (failed.value.code, capsys.readouterr().out) == (6, "")


def test_a_folder_with_a_space_wants_eval(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(c_flags, "_flags", lambda: (["-I/a b/include"], ["-lHypervisor"]))
    c_flags.c_flags()
    told = capsys.readouterr()
    assert shlex.split(told.out) == ["-I/a b/include", "-lHypervisor"]
    assert "eval gcc" in told.err
