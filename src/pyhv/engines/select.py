"""Which engine runs a VM: the one that was named, else $PYHV_ENGINE, else the best that works here."""

from __future__ import annotations

import os
from typing import Final

from ..errors import BadArgument, Denied, EngineUnavailable
from .apple import AppleEngine
from .base import Engine, EngineStatus
from .kvm import KvmEngine
from .soft import SoftEngine

ENGINES: Final[dict[str, Engine]] = {engine.name: engine for engine in (SoftEngine(), KvmEngine(), AppleEngine())}
"""Every engine by name, whether it works here or not."""

_PREFERRED: Final = ("kvm", "soft")
"""The order in which `engine=None` looks; what is not fast is passed over."""

VARIABLE: Final = "PYHV_ENGINE"


def choose(engine: str | Engine | None = None, default: str = "") -> Engine:
    """The engine for a new VM; `default` where nobody names one.

    Raises BadArgument for a name that is none, EngineUnavailable or Denied where it cannot work.
    """
    if engine is not None and not isinstance(engine, str):
        return engine
    name, source = (engine, "engine") if engine else (os.environ.get(VARIABLE, ""), f"${VARIABLE}")
    if not name:
        return _working(default) if default else _best()
    if name not in ENGINES:
        raise BadArgument(f"{source} is {name!r}, which is no engine; there are {', '.join(ENGINES)}")
    return _working(name)


def engine_statuses() -> list[EngineStatus]:
    """All engines: whether each works on this machine, why not, what it can do."""
    return [engine.status() for engine in ENGINES.values()]


def hv_support() -> bool:
    """Whether virtual machines can be made on this machine. Apple: sysctl kern.hv_support."""
    return any(status.works for status in engine_statuses())


def _working(name: str) -> Engine:
    status = ENGINES[name].status()
    if not status.works:
        raise (Denied if status.denied else EngineUnavailable)(f"engine {name} does not work here: {status.reason}")
    return ENGINES[name]


def _best() -> Engine:
    for name in _PREFERRED:
        status = ENGINES[name].status()
        if status.works and status.fast:
            return ENGINES[name]
    raise EngineUnavailable("no engine works here; `hv engines` says why, engine by engine")
