"""Which of Apple's functions were called meanwhile, and how each call ended: no promise claims what it skips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

from ..errors import HvError
from ..framework import intel as hv
from ._promise import Outcome

SUCCESS: Final = "HV_SUCCESS"


@contextmanager
def recorded() -> Iterator[set[Outcome]]:
    """The outcomes of all calls that are made through `pyhv.framework.intel` meanwhile, from any thread."""
    outcomes: set[Outcome] = set()
    before = {name: getattr(hv, name) for name in functions()}
    for name, function in before.items():
        setattr(hv, name, _watched(name, function, outcomes))
    try:
        yield outcomes
    finally:
        for name, function in before.items():
            setattr(hv, name, function)


def functions() -> list[str]:
    """The names of Apple's functions here."""
    return sorted(hv.IMPLEMENTED | hv.LATER)


def _watched(name: str, function: Callable[..., Any], outcomes: set[Outcome]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            result = function(*arguments)
        except HvError as error:
            outcomes.add((name, hv.hv_return_t(error.code).name))
            raise
        outcomes.add((name, SUCCESS))
        return result

    return call
