"""What is said where KVM is missing, closed or broken: each names what is in the way and what would do."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from pyhv import VirtualMachine
from pyhv.engines.kvm import KvmEngine, obstacle, system
from pyhv.engines.select import ENGINES, choose
from pyhv.errors import Denied, EngineUnavailable, NoResources


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with files in the place of /dev/kvm ("kvm") and /proc/cpuinfo ("cpuinfo"); no container."""
    monkeypatch.setattr(obstacle, "DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(system, "DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(obstacle, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(obstacle, "_CONTAINER_MARKS", (tmp_path / ".dockerenv",))
    monkeypatch.delenv("container", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("fpu vmx", "modprobe kvm_intel"),
        ("fpu svm hypervisor", "modprobe kvm_amd"),
        ("fpu hypervisor", "nested virtualization"),
        ("fpu", "in the firmware"),
        (None, "in the firmware"),
    ],
)
def test_a_missing_device(machine: Path, flags: str | None, says: str) -> None:
    if flags is not None:
        (machine / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n")
    reason, denied = obstacle.obstacle()
    assert says in reason
    assert str(machine / "kvm") in reason
    assert not denied


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_missing_device_in_a_container(machine: Path, by_variable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if by_variable:
        monkeypatch.setenv("container", "podman")
    else:
        (machine / ".dockerenv").touch()
    assert "--device" in obstacle.obstacle()[0]


@pytest.mark.parametrize(("mode", "says"), [(0o660, "usermod -aG 54321"), (0o600, "chgrp kvm"), (0o640, "chgrp kvm")])
def test_a_closed_device(machine: Path, mode: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = machine / "kvm"
    device.touch()
    device.chmod(mode)
    as_it_is = device.stat()
    fields = list(as_it_is)
    fields[5] = 54321  # a group without a name
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr(Path, "stat", lambda self, **_: os.stat_result(fields))
    reason, denied = obstacle.obstacle()
    assert says in reason
    assert f"mode {mode:03o}" in reason
    assert denied
    with pytest.raises(Denied, match=says):
        KvmEngine().create_vm()
    status = KvmEngine().status()
    assert (status.works, status.denied, status.reason) == (False, True, reason)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (errno.EPERM, Denied, "--device"),
        (errno.EACCES, Denied, "sandbox"),
        (errno.ENXIO, EngineUnavailable, "nobody behind it"),
        (errno.ENODEV, EngineUnavailable, "nobody behind it"),
        (errno.EBUSY, EngineUnavailable, "another hypervisor"),
        (errno.EIO, EngineUnavailable, "does not work"),
    ],
)
def test_a_device_that_cannot_be_opened(
    machine: Path, code: int, kind: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "kvm").touch()

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.open", fail)
    status = KvmEngine().status()
    assert not status.works
    assert status.denied == (kind is Denied)
    assert says in status.reason
    with pytest.raises(kind, match=says):
        KvmEngine().create_vm()


def test_a_file_in_its_place(machine: Path) -> None:
    (machine / "kvm").touch()
    with pytest.raises(EngineUnavailable, match="not KVM's"):
        KvmEngine().create_vm()


def test_another_kind_of_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "aarch64" in obstacle.obstacle()[0]
    monkeypatch.setattr("sys.platform", "darwin")
    assert "darwin" in obstacle.obstacle()[0]


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.EMFILE, NoResources), (errno.ENOMEM, NoResources), (errno.EBUSY, EngineUnavailable)]
)
def test_no_further_vm(kvm: str, code: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(system, "ioctl", fail)
    with pytest.raises(kind):
        ENGINES[kvm].create_vm()


def test_what_was_in_the_way_once_is_looked_at_again(kvm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = KvmEngine()
    with monkeypatch.context() as broken:
        broken.setattr("os.open", lambda *_: (_ for _ in ()).throw(OSError(errno.EBUSY, "busy")))
        assert not engine.status().works
    assert engine.status().works


def test_the_command_says_the_same(kvm: str, capsys: pytest.CaptureFixture[str]) -> None:
    from pyhv.cli.engines import engines

    engines(as_json=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    status = ENGINES[kvm].status()
    assert rows["kvm"] == {
        "name": "kvm",
        "works": True,
        "chosen": choose().name == "kvm",
        "denied": False,
        "reason": "",
        "abilities": list(status.abilities),
    }
    with VirtualMachine(kvm):
        pass
