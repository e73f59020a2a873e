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

BIOS = Path("/usr/share/seabios/bios.bin")


def boot(until: bytes) -> tuple[object, str]:
    if not BIOS.exists():
        pytest.skip("the package seabios is not installed")
    plan = load(BIOS.read_bytes(), BIOS.name)
    assert plan.kind is Kind.FIRMWARE
    capture = Capture()
    settings = Settings("soft", 64 << 20, Limits(60.0, until=until))
    result = session.run(plan, settings, capture, NoInput())
    return result.outcome, capture.data.decode("latin-1")


def test_seabios_prints_its_banner() -> None:
    outcome, output = boot(b"SeaBIOS (version ")
    assert outcome == TextSeen("SeaBIOS (version "), output


def test_seabios_finds_the_memory_and_nothing_to_boot() -> None:
    outcome, output = boot(b"No bootable device")
    assert outcome == TextSeen("No bootable device"), output
    assert "RamSize: 0x04000000" in output
