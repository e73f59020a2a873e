"""Which thread is which.

A token belongs to one thread and to no later one with its number. It knows when that has ended; Python keeps the token
of a thread that C made for longer.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from .. import _silicon

if TYPE_CHECKING:
    from .vcpu import VCpu


class ThreadToken:
    """One thread of this process. Hold it weakly: it dies with the thread, or later."""

    __slots__ = ("__weakref__", "_life", "name", "vcpu")

    def __init__(self, name: str) -> None:
        self.name = name
        self.vcpu: VCpu | None = None  # the live vCPU that this thread owns, under strict rules
        self._life = _silicon.ThreadLife()

    @property
    def ended(self) -> bool:
        """Whether its thread has ended."""
        return self._life.over


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
