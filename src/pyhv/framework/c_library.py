"""Where the C headers and libHypervisor.so are: beside the native module, in the installed package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from .. import __path__ as _package
from ..errors import Unsupported


class NotInstalled(Unsupported):
    """This installation has no C library."""


def library() -> Path:
    """libHypervisor.so. Raises NotInstalled."""
    return _find("lib/libHypervisor.so")


def include_folder() -> Path:
    """What holds `Hypervisor/Hypervisor.h`. Raises NotInstalled."""
    return _find("include/Hypervisor/Hypervisor.h").parents[1]


def _find(name: str) -> Path:
    native = find_spec("pyhv._silicon")  # an editable install has what was built apart from the sources
    built = [Path(native.origin).parent] if native and native.origin else []
    for folder in (*map(Path, _package), *built):
        if (folder / name).exists():
            return folder / name
    raise NotInstalled(
        f"this installation of pyhv has no {Path(name).name}: it was built without cffi, or for a Python that has no "
        "shared library (on Debian: apt-get install libpython3-dev, then install pyhv again)"
    )
