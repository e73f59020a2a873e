"""Which thread is which.

A token lives exactly as long as its thread, so an owner that has ended is told from a new thread with its number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def _nothing() -> None:
    """Where a reference would be."""


class ThreadToken:
    """One thread of this process. Hold it weakly: it dies with the thread."""

    __slots__ = ("__weakref__", "name", "vcpu")

    def __init__(self) -> None:
        self.name = threading.current_thread().name
        self.vcpu: Callable[[], Any] = _nothing  # the vCPU that this thread owns under strict rules: a weak reference


_local = threading.local()


def current() -> ThreadToken:
    """The token of the calling thread."""
    try:
        token: ThreadToken = _local.token
    except AttributeError:
        token = _local.token = ThreadToken()
    return token
