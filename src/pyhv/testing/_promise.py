"""The register of promises."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
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
    "dirty",
    "debugging",
    "events",
    "state",
    "lifetime",
    "strict_refusals",
    "strict_lifecycle",
    "strict_memory",
    "strict_translation",
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
Check = Callable[[str], None]
Outcome = tuple[str, str]
"""The name of a function, and that of the hv_return_t with which it ended."""

_found: Final[list[Promise]] = []
_covered: Final[dict[Check, frozenset[Outcome]]] = {}


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise: `check(engine)` raises AssertionError when the engine does not keep it."""

    name: str
    rule: str
    function: Check
    covers: frozenset[Outcome] = frozenset()
    """Apple's functions that it is about, each with a code that it shows."""

    @property
    def rules(self) -> tuple[str, ...]:
        """The numbers of the rules that it stands for; none for the objects."""
        return () if self.rule == "objects" else tuple(part.strip() for part in self.rule.split(","))

    def check(self, engine: str | Engine) -> None:
        """Put an engine to it, by name or as an object. Apple's functions are sent to the same engine meanwhile."""
        with known(engine) as name, framework_on(name):
            self.function(name)

    def __str__(self) -> str:
        return self.name


def promise(function: Check) -> Check:
    """Register a promise. Its docstring begins with `rule: `; what `covers` says stands below."""
    rule, colon, _ = (function.__doc__ or "").partition(":")
    if not colon:
        raise ValueError(f"{function.__name__} has no docstring that begins with its rule and a colon")
    name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
    _found.append(Promise(name, rule, function, _covered.pop(function, frozenset())))
    return function


def covers(**shown: str) -> Callable[[Check], Check]:
    """Say which of Apple's functions the promise below is about, each with the codes that it shows, without "HV_".

    `@covers(hv_vm_unmap="SUCCESS ERROR")`. The generated documentation reads it from the source, so it is written out;
    the conformance tests fail a promise that did not see what it covers.
    """
    outcomes = frozenset((name, f"HV_{code}") for name, codes in shown.items() for code in codes.split())

    def mark(function: Check) -> Check:
        _covered[function] = outcomes | _covered.get(function, frozenset())
        return function

    return mark


def covers_each(names: Iterable[str], code: str) -> Callable[[Check], Check]:
    """As `covers`, for one code of many functions: a table of `calls`."""
    return covers(**dict.fromkeys(names, code))


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
