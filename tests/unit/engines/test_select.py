from __future__ import annotations

import pytest

from pyhv import BadArgument, EngineUnavailable, VirtualMachine, engine_statuses, hv_support
from pyhv.engines.select import ENGINES, VARIABLE, choose


def test_soft_is_taken_when_nobody_says_and_kvm_is_not_fast() -> None:
    kvm = ENGINES["kvm"].status()
    assert choose().name == ("kvm" if kvm.works and kvm.fast else "soft")
    assert choose("soft") is ENGINES["soft"]


def test_the_variable_chooses_and_the_argument_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "apple")
    with pytest.raises(EngineUnavailable, match="engine apple does not work here"):
        choose()
    assert choose("soft").name == "soft"
    monkeypatch.setenv(VARIABLE, "qemu")
    with pytest.raises(BadArgument, match=r"\$PYHV_ENGINE is 'qemu'.*soft, kvm, apple"):
        VirtualMachine()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(BadArgument, match="engine is 'hvf'"):
        VirtualMachine("hvf")


def test_engines_that_do_not_work_say_why() -> None:
    name = "apple"
    status = ENGINES[name].status()
    assert not status.works
    assert "yet" in status.reason
    with pytest.raises(EngineUnavailable, match="yet"):
        VirtualMachine(name)
    with pytest.raises(EngineUnavailable):
        ENGINES[name].create_vm()
    with pytest.raises(EngineUnavailable):
        ENGINES[name].capability(0)


def test_statuses_name_every_engine() -> None:
    assert [status.name for status in engine_statuses()] == ["soft", "kvm", "apple"]
    assert hv_support() is True


def test_an_engine_can_be_passed_in() -> None:
    with VirtualMachine(ENGINES["soft"]) as vm:
        assert vm.engine_name == "soft"
