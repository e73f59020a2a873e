"""Which thread is which.

A token lives exactly as long as its thread, so an owner that has ended is told from a new thread with its number.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .vcpu import VCpu


class ThreadToken:
    """One thread of this process. Hold it weakly: it dies with the thread."""

    __slots__ = ("__weakref__", "name", "vcpu")

    def __init__(self, name: str) -> None:
        self.name = name
        self.vcpu: VCpu | None = None  # the live vCPU that this thread owns, under strict rules


_NOBODY: Final = ThreadToken("nobody")


class _Here(threading.local):
    """What is the calling thread's own."""

    token: ThreadToken = _NOBODY


here: Final = _Here()
"""`here.token.vcpu` is the calling thread's vCPU, without a call: every function of Apple's begins with it."""


def current() -> ThreadToken:
    """The token of the calling thread."""
    token = here.token
    if token is _NOBODY:
        token = here.token = ThreadToken(threading.current_thread().name)
    return token
