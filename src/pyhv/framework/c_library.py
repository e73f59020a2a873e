"""Where the C headers and libHypervisor.so are: beside the native module, in the installed package."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from .. import __path__ as _package
from ..errors import Unsupported

_LOAD: Final = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


class NotInstalled(Unsupported):
    """This installation has no C library, or none that works here."""


def library() -> Path:
    """libHypervisor.so. Raises NotInstalled."""
    return _find("lib/libHypervisor.so")


def include_folder() -> Path:
    """What holds `Hypervisor/Hypervisor.h`. Raises NotInstalled."""
    return _find("include/Hypervisor/Hypervisor.h").parents[1]


def require_loadable() -> None:
    """Raise NotInstalled where a program would not find what the library needs: the libpython it was built with."""
    command = [sys.executable, "-I", "-S", "-c", _LOAD, str(library())]  # in a process of its own: it brings a Python
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        why = done.stderr.strip().rpartition("\n")[2] or f"the loader ended with {done.returncode}"
        raise NotInstalled(
            f"{library()} cannot be loaded ({why}); it runs on the Python that it was built with: install pyhv again, "
            "built here (pip install --force-reinstall --no-cache-dir --no-binary pyhv pyhv)"
        )


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
