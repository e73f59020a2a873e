"""Debian's SeaBIOS, unmodified: to its version banner, and on until it finds nothing to boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyhv.vmm import session
from pyhv.vmm.console import Capture, NoInput
from pyhv.vmm.limits import Limits
from pyhv.vmm.loaders import load
from pyhv.vmm.outcome import TextSeen
from pyhv.vmm.plan import Kind
from pyhv.vmm.session import Settings

FOLDER = Path("/usr/share/seabios")


def boot(name: str, until: bytes) -> tuple[object, str]:
    if not FOLDER.exists():
        pytest.skip("the package seabios is not installed")
    plan = load((FOLDER / name).read_bytes(), name)
    assert plan.kind is Kind.FIRMWARE
    capture = Capture()
    settings = Settings("soft", 64 << 20, Limits(60.0, until=until))
    result = session.run(plan, settings, capture, NoInput())
    return result.outcome, capture.data.decode("latin-1")


def test_seabios_prints_its_banner() -> None:
    outcome, output = boot("bios.bin", b"SeaBIOS (version ")
    assert outcome == TextSeen("SeaBIOS (version "), output


@pytest.mark.parametrize("name", ["bios.bin", "bios-256k.bin"])
def test_seabios_finds_the_memory_and_nothing_to_boot(name: str) -> None:
    outcome, output = boot(name, b"No bootable device")
    assert outcome == TextSeen("No bootable device"), output
    assert "RamSize: 0x04000000" in output
