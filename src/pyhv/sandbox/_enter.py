"""`enter`: no_new_privs, files, system calls, in this order, or nothing."""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from .._core import entitled
from .._core.entitled import Entitlements
from ..errors import Busy, Unsupported
from . import _filter, _landlock

_PR_SET_NO_NEW_PRIVS: Final = 38
_DEVICES: Final = Path("/dev")
_NODES: Final = {
    "hypervisor": ("kvm", "vhost-*", "mshv", "vbox*", "vmm*", "sev", "sgx*"),
    "networking": ("net", "tap*", "vhost-net", "ppp", "macvtap*"),
    "device_access": ("bus", "usb*", "hidraw*", "hiddev*", "vfio", "ttyUSB*", "ttyACM*"),
}
"""Entries of /dev that an entitlement opens."""
_MAKES_NO_NODES: Final = ~(_landlock.MAKE_CHAR | _landlock.MAKE_BLOCK)
_EVERYTHING: Final = (1 << 64) - 1 & _MAKES_NO_NODES


@dataclass(frozen=True, slots=True)
class Files:
    """Which files a confined process may open beside Python's own: to read, and to read and write with all beneath."""

    readable: tuple[str | os.PathLike[str], ...] = ()
    writable: tuple[str | os.PathLike[str], ...] = ()


@dataclass(frozen=True, slots=True)
class Confinement:
    """What holds since `enter`."""

    entitlements: Entitlements
    landlock: int
    """Version of Landlock that guards files and device nodes; 0: this kernel has none, only the filter holds."""
    files: Files | None
    """None: all files but device nodes that an entitlement opens."""


def enter(entitlements: Entitlements | str | os.PathLike[str], *, files: Files | None = None) -> Confinement:
    """Confine this process, for good, to `entitlements` (or a property list in a file) and, if given, to `files`.

    Call it while there is one thread: others would stay free, so with others it is Busy and nothing has changed. What
    is open already stays open. Raises BadArgument for a bad file, Unsupported outside Linux and without libseccomp.
    """
    if not isinstance(entitlements, Entitlements):
        entitlements = Entitlements.read(entitlements)
    if sys.platform != "linux":
        raise Unsupported(f"the sandbox is Linux's; on {sys.platform} sign the program with its entitlements")
    if (threads := _thread_count()) != 1:
        raise Busy(
            f"the process has {threads} threads; enter the sandbox while there is one, before others are started"
        )
    _filter.check()
    abi = _landlock.version()
    allowed = list(_allowed(entitlements, files)) if abi else []
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise Unsupported(f"the kernel refuses no_new_privs: {os.strerror(ctypes.get_errno())}")
    if abi:
        _landlock.restrict(abi, allowed)
    _filter.install(entitlements)
    entitled.confine(entitlements)
    return Confinement(entitlements, abi, files)


def _thread_count() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def _allowed(entitlements: Entitlements, files: Files | None) -> Iterator[tuple[str, int]]:
    """Landlock only allows: everything is listed that stays open."""
    yield from ((path, _EVERYTHING) for path in _device_nodes(entitlements))
    if files is None:
        yield from ((str(path), _EVERYTHING) for path in Path("/").iterdir() if path != _DEVICES)
        return
    yield from ((path, _landlock.READ) for path in (*_pythons_own(), *(os.fspath(p) for p in files.readable)))
    yield from ((os.fspath(path), _EVERYTHING) for path in files.writable)


def _device_nodes(entitlements: Entitlements) -> Iterator[str]:
    closed = [pattern for name, patterns in _NODES.items() if not getattr(entitlements, name) for pattern in patterns]
    for path in _DEVICES.iterdir():
        if not any(fnmatch(path.name, pattern) for pattern in closed):
            yield str(path)


def _pythons_own() -> Iterable[str]:
    """What an import or an error message may still read, and what the C library asks for."""
    paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    paths |= {path for path in sys.path if Path(path).resolve() != Path.cwd()}  # `python -m` puts that there
    paths |= {
        str(Path(__file__).resolve().parents[1]),
        "/usr/lib",
        "/usr/share",
        "/lib",
        "/lib64",
        "/etc",
        "/proc",
        "/sys",
    }
    return sorted(path for path in paths if path)
