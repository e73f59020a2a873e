from __future__ import annotations

from collections.abc import Iterator

import pytest

from .driver import Memory


@pytest.fixture
def memory() -> Iterator[Memory]:
    found = Memory()
    yield found
    found.close()
