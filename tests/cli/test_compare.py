"""`hv compare`: two engines that agree, and two that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyhv.engines.base import EngineVm
from pyhv.engines.select import ENGINES
from pyhv.engines.soft import SoftEngine
from pyhv.engines.soft.engine import SoftVm
from pyhv.testing._promise import known
from pyhv.vmm.compare import Comparison, compare
from pyhv.vmm.console import Capture
from pyhv.vmm.flags import undefined_after
from pyhv.vmm.loaders import load
from pyhv.vmm.plan import Mode

from .conftest import Hv

# mov al,'H'; out 0xe9,al; mov cx,5; mov di,0x900; rep stosb; in al,0x61; mov [0x910],al; hlt
PROGRAM = bytes.fromhex("b048 e6e9 b90500 bf0009 f3aa e461 a21009 f4")


def _compare(*engines: str) -> tuple[Comparison, bytes]:
    said = Capture(None)
    plan = load(PROGRAM, "x.bin", mode=Mode.REAL, load_at=None, entry=None, arguments="")
    return compare(plan, engines, 1 << 20, 1000, said), said.data


def test_an_engine_agrees_with_itself() -> None:
    found, said = _compare("soft", "soft")
    assert (found.end, found.lines, said) == ("HLT", (), b"H")


def test_soft_and_kvm_agree() -> None:
    status = ENGINES["kvm"].status()
    if not status.works:
        pytest.skip(f"the kvm engine: {status.reason}")
    found, said = _compare("soft", "kvm")
    assert (found.end, found.lines, said) == ("HLT", (), b"H")
    assert found.steps == 13  # IN counts twice: its question, and the rest


class _WrongVm(SoftVm):
    """Loads CX with 6 where the program says 5."""

    def __init__(self) -> None:
        super().__init__(0.0, False)
        straight = self.write
        self.write = lambda gpa, data: straight(gpa, bytes(data).replace(b"\xb9\x05", b"\xb9\x06"))


class _Wrong(SoftEngine):
    name = "wrong"

    def create_vm(self, ns_per_instruction: float = 0.0, apic: bool = False) -> EngineVm:
        return _WrongVm()


def test_the_first_difference_is_shown() -> None:
    with known(_Wrong()) as wrong:
        found, _ = _compare("soft", wrong)
    assert found.steps == 2
    assert "rcx: 0x5 -> 0x6" in found.lines


def test_what_the_manual_leaves_undefined_does_not_count() -> None:
    assert undefined_after("and eax, ebx") == 0x10
    assert undefined_after("lock or [rax], ebx") == 0x10
    assert undefined_after("add eax, ebx") == 0


def test_the_command(hv: Hv, tmp_path: Path) -> None:
    image = tmp_path / "x.bin"
    image.write_bytes(PROGRAM)
    done = hv("compare", "--engine", "soft", "--to", "soft", "--mode", "real", image)
    assert (done.returncode, done.stdout) == (0, "H")
    assert "agree" in done.stderr
    assert "(16M)" in hv("compare", "--help").stdout
    done = hv("compare", "--to", "nobody", image)
    assert done.returncode == 2
    assert "nobody" in done.stderr
