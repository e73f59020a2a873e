"""The register of promises."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from ..engines.base import Engine
from ..engines.select import ENGINES, VARIABLE

_MODULES: Final = (
    "entry",
    "answers",
    "running",
    "memory",
    "debugging",
    "events",
    "state",
    "lifetime",
    "strict_lifecycle",
    "strict_memory",
    "strict_running",
    "strict_vmcs",
    "strict_vmx",
    "strict_vmx_entry",
    "strict_vmx_paging",
    "strict_state",
    "strict_apic",
    "strict_notifiers",
    "strict_spaces",
    "strict_shadow",
)
_found: Final[list[Promise]] = []


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise: `check(engine)` raises AssertionError when the engine does not keep it."""

    name: str
    rule: str
    function: Callable[[str], None]

    def check(self, engine: str | Engine) -> None:
        """Put an engine to it, by name or as an object. Apple's functions are sent to the same engine meanwhile."""
        with known(engine) as name, framework_on(name):
            self.function(name)

    def __str__(self) -> str:
        return self.name


def promise(function: Callable[[str], None]) -> Callable[[str], None]:
    """Register a promise. Its docstring begins with `rule: `."""
    rule, colon, _ = (function.__doc__ or "").partition(":")
    if not colon:
        raise ValueError(f"{function.__name__} has no docstring that begins with its rule and a colon")
    _found.append(Promise(f"{function.__module__.rpartition('.')[2]}.{function.__name__}", rule, function))
    return function


def promises() -> list[Promise]:
    """All promises, those of the objects first."""
    for module in _MODULES:
        import_module(f".{module}", __package__)
    return list(_found)


@contextmanager
def known(engine: str | Engine) -> Iterator[str]:
    """The name of an engine; one that is not pyhv's own goes by its name meanwhile."""
    if isinstance(engine, str):
        yield engine
        return
    before = ENGINES.get(engine.name)
    ENGINES[engine.name] = engine
    try:
        yield engine.name
    finally:
        del ENGINES[engine.name]
        if before is not None:
            ENGINES[engine.name] = before


@contextmanager
def framework_on(engine: str) -> Iterator[None]:
    """Let Apple's functions use this engine."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = engine
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
