"""What the C library's functions need beside the framework: C's memory, and codes instead of exceptions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, Final

from ..errors import HvError, HvReturn

VARIABLE: Final = "PYHV_ERRORS"
"""`PYHV_ERRORS=1` in the environment: a call that fails says on stderr what was wrong; C sees only a code."""
_telling: Final = os.environ.get(VARIABLE, "0") not in ("", "0")
_BYTES: Final = (bytes, bytearray)
_ffi: Any = None
_buffer: Any = None


def use(ffi: Any) -> None:
    """Of the library that was loaded: everything here works on its C types."""
    global _ffi, _buffer
    _ffi, _buffer = ffi, ffi.buffer


def signed(code: int) -> int:
    """hv_return_t is an int."""
    return code - (1 << 32) if code >> 31 else code


def code(function: str, error: HvError) -> int:
    """What C gets for an exception."""
    if _telling:
        print(f"{function}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return signed(int(error.code))


def null(function: str, parameter: str) -> int:
    """A pointer that must not be NULL is."""
    return code(function, HvError.of(HvReturn.BAD_ARGUMENT, f"{parameter} is NULL"))


def address(pointer: Any) -> int:
    """A pointer as a number."""
    return int(_ffi.cast("uintptr_t", pointer))


def array(pointer: Any, count: int) -> list[Any]:
    """`count` elements."""
    return list(_ffi.unpack(pointer, count)) if count else []


def content(pointer: Any, size_bytes: int | None = None) -> bytes:
    """The bytes behind a pointer, all of a structure where no size is given."""
    return bytes(_buffer(pointer) if size_bytes is None else _buffer(pointer, size_bytes))


def fill(pointer: Any, value: int | bytes | bytearray | Iterable[Any], count: int | None = None) -> None:
    """Put bytes, an address, or `count` elements behind a pointer."""
    if isinstance(value, _BYTES):
        _buffer(pointer, len(value))[:] = value
    elif isinstance(value, int):
        pointer[0] = _ffi.cast("void *", value)
    else:
        for n, element in enumerate(value):
            if count is not None and n >= count:
                return
            pointer[n] = element
