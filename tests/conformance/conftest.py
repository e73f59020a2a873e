"""A test that fails must not make the next ones fail: the VM of the process does not outlive its test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyhv._core.vm import sole_vm
from pyhv.errors import NoDevice


@pytest.fixture(autouse=True)
def _no_vm_is_left() -> Iterator[None]:
    yield
    try:
        left = sole_vm()
    except NoDevice:
        return
    left.abandon()
    pytest.fail("the test left the VM of the process behind")
