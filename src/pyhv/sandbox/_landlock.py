"""Landlock by its three system calls: which files may still be opened. Linux: "Landlock"."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << n for n in range(4))
REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (
    1 << n for n in range(4, 13)
)
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
READ: Final = READ_FILE | READ_DIR | EXECUTE
OF_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_ADDED_BY_VERSION: Final = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
_FIRST: Final = (1 << 13) - 1

_libc: Final = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def version() -> int:
    """Of the kernel's Landlock; 0: it has none, or it is off."""
    try:
        return _call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    except OSError:
        return 0


def known_rights(abi: int) -> int:
    """Every right that this version can take away."""
    rights = _FIRST
    for added_in, right in _ADDED_BY_VERSION.items():
        rights |= right if abi >= added_in else 0
    return rights


def restrict(abi: int, allowed: Iterable[tuple[str, int]]) -> None:
    """Only `allowed` paths, each with all beneath it and its rights, can be opened from now on.

    A path that is not there is left out. Needs no_new_privs. Raises OSError.
    """
    handled = known_rights(abi)
    attributes = struct.pack("Q", handled)
    ruleset = _call(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path, rights in allowed:
            _allow(ruleset, path, rights & handled)
        _call(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # it went away, or was never there
        return
    try:
        if not Path(path).is_dir():
            rights &= OF_FILES
        rule = struct.pack("=Qi", rights, place)
        _call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    except OSError as error:
        if error.errno != errno.EBADFD:  # /dev/stdin on a pipe: that has no place among the files, and no rule
            raise
    finally:
        os.close(place)
