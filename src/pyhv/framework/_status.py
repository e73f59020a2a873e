"""Which of Apple's functions do their work, as data: the documentation's table and the tests read it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final, NoReturn, ParamSpec, TypeVar

from ..errors import Unsupported

P = ParamSpec("P")
R = TypeVar("R")

IMPLEMENTED: Final[set[str]] = set()
"""Functions that work."""

LATER: Final[set[str]] = set()
"""Functions that exist and raise HvError of HV_UNSUPPORTED."""


def implemented(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function that works."""
    IMPLEMENTED.add(function.__name__)
    return function


def later(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function that pyhv does not have yet; whatever the arguments, it raises Unsupported."""
    LATER.add(function.__name__)

    @wraps(function)
    def unsupported(*_: P.args, **__: P.kwargs) -> NoReturn:
        raise Unsupported(f"HV_UNSUPPORTED: pyhv does not have {function.__name__} yet")

    return unsupported
