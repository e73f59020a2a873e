"""What all tests share."""

from __future__ import annotations

import pytest

from pyhv.engines.select import VARIABLE


@pytest.fixture(autouse=True)
def _engine_is_not_taken_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests name their engine; a $PYHV_ENGINE of whoever runs them must not choose."""
    monkeypatch.delenv(VARIABLE, raising=False)
