"""The Python side of libHypervisor.so: called once, when a C program makes its first call."""

from __future__ import annotations

from typing import Any

from ..errors import HvReturn
from . import _c_values
from ._intel_c import FUNCTIONS


def start(ffi: Any) -> None:
    """Give every exported function its body. One that fails otherwise than by an HvError returns HV_ERROR."""
    _c_values.use(ffi)
    error = _c_values.signed(HvReturn.ERROR)
    for function in FUNCTIONS:
        code = 0 if function.__name__ == "hv_tsc_clock" else error
        ffi.def_extern(name=function.__name__, error=code)(function)
