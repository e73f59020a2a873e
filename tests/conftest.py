"""What all tests share."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyhv import _silicon
from pyhv.engines.select import VARIABLE


@pytest.fixture(autouse=True)
def _engine_is_not_taken_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests name their engine; a $PYHV_ENGINE of whoever runs them must not choose."""
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="session")
def assemble(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int, int], bytes]:
    """`assemble(text, at, bits)`: GNU as, Intel syntax; the bytes."""
    if not shutil.which("as"):
        pytest.fail("these tests assemble guests: install binutils")
    folder = tmp_path_factory.mktemp("assembled")
    known: dict[tuple[str, int, int], bytes] = {}

    def make(text: str, at: int, bits: int) -> bytes:
        key = (text, at, bits)
        if key not in known:
            source, thing, binary = folder / "x.S", folder / "x.o", folder / "x.bin"
            source.write_text(f".intel_syntax noprefix\n.code{bits}\n" + text.replace(";", "\n") + "\n")
            emulation, flag = ("elf_x86_64", "--64") if bits == 64 else ("elf_i386", "--32")
            link = ["ld", "-m", emulation, f"-Ttext={at:#x}", "-e", "0", "--oformat", "binary", "-o", binary, thing]
            for command in (["as", flag, "-o", thing, source], link):
                done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{text}\n{done.stderr}"
            known[key] = Path(binary).read_bytes()
        return known[key]

    return make


@pytest.fixture(autouse=True)
def _what_a_test_judges_is_executed(request: pytest.FixtureRequest) -> Iterator[None]:
    """docs/reference/coverage.md is made from these marks: a test must have had decoded what it names."""
    named = {form for mark in request.node.iter_markers("judges") for form in mark.args}
    if named:
        _silicon.take_decoded_forms()
    yield
    if named:
        forms = {(mnemonic.upper(), operands) for mnemonic, operands in _silicon.take_decoded_forms()}
        seen = {mnemonic for mnemonic, _ in forms} | {f"{mnemonic} {operands}" for mnemonic, operands in forms}
        assert named <= seen, f"marked as judging {sorted(named - seen)}, of which the software CPU has decoded nothing"
