"""Where the C headers and libHypervisor.so are: beside the native module, in the installed package."""

from __future__ import annotations

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
    from .. import _silicon  # noqa: PLC0415 - an editable install has what was built apart from the sources

    for folder in (*map(Path, _package), Path(str(_silicon.__file__)).parent):
        if (folder / name).exists():
            return folder / name
    raise NotInstalled(
        f"this installation of pyhv has no {Path(name).name}: it was built without cffi, or for a Python that has no "
        "shared library (on Debian: apt-get install libpython3-dev, then install pyhv again)"
    )
