"""fork(): the child of a process with VMs has none, and never touches the engines of its parent."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable


def after_fork_in_child(hook: Callable[[], None]) -> Callable[[], None]:
    """Call `hook` in every forked child, before anything else runs there."""
    os.register_at_fork(after_in_child=hook)
    return hook


def keep_for_good(kept: object) -> None:
    """Never destroy an object, not even when the interpreter ends.

    In a forked child the destructor of an engine could wait for ever, for a lock that a thread of the parent held.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))
