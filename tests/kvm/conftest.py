"""Guests on KVM, where there is one."""

from __future__ import annotations

import pytest

from pyhv.engines.select import ENGINES


@pytest.fixture
def kvm() -> str:
    """The engine's name; skips with what stands in its way."""
    status = ENGINES["kvm"].status()
    if not status.works:
        pytest.skip(f"the kvm engine: {status.reason}")
    return "kvm"
