"""Everything but HV_SUCCESS, as exceptions.

    HvError                      HV_ERROR, and any code without a class of its own
    ├── Busy                     HV_BUSY: something alive still owns it
    ├── BadArgument              HV_BAD_ARGUMENT, also a ValueError
    │   └── Closed               use after close
    ├── NoResources              HV_NO_RESOURCES
    ├── NoDevice                 HV_NO_DEVICE: there is no VM, or no vCPU
    ├── Denied                   HV_DENIED, also a PermissionError
    ├── Fault                    HV_FAULT (Intel only)
    ├── IllegalGuestState        HV_ILLEGAL_GUEST_STATE (Apple silicon only)
    └── Unsupported              HV_UNSUPPORTED
        └── EngineUnavailable    an engine was asked for by name and cannot work here

What a guest does is never one of these: it is a fault inside the guest, or an exit.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class HvReturn(IntEnum):
    """hv_return_t as unsigned 32-bit numbers. Apple: Hypervisor/hv_error.h."""

    SUCCESS = 0
    ERROR = 0xFAE94001
    BUSY = 0xFAE94002
    BAD_ARGUMENT = 0xFAE94003
    ILLEGAL_GUEST_STATE = 0xFAE94004
    NO_RESOURCES = 0xFAE94005
    NO_DEVICE = 0xFAE94006
    DENIED = 0xFAE94007
    FAULT = 0xFAE94008
    UNSUPPORTED = 0xFAE9400F


class HvError(Exception):
    """A call did not return HV_SUCCESS; `code` is the hv_return_t. Raised as itself it is HV_ERROR."""

    code: int = HvReturn.ERROR
    _by_code: ClassVar[dict[int, type[HvError]]] = {}

    def __init_subclass__(cls) -> None:
        HvError._by_code.setdefault(cls.code, cls)

    @staticmethod
    def of(code: int, message: str = "") -> HvError:
        """The exception for an hv_return_t, signed or unsigned; an unknown code is kept in a plain HvError."""
        code &= 0xFFFF_FFFF
        if code == HvReturn.SUCCESS:
            raise ValueError("HV_SUCCESS is not an error")
        kind = HvError._by_code.get(code, HvError)
        name = f"HV_{HvReturn(code).name}" if code in HvReturn._value2member_map_ else "hv_return_t"
        error = kind(message or f"{name} ({code:#010x})")
        error.code = code
        return error


class Busy(HvError):
    """Something alive still owns what was asked for."""

    code = HvReturn.BUSY


class BadArgument(HvError, ValueError):
    """An argument that can never be right, or not in this state; the message says what would do."""

    code = HvReturn.BAD_ARGUMENT


class Closed(BadArgument):
    """The object was closed, destroyed or unmapped before this use."""


class NoResources(HvError):
    """A limit is reached: vCPUs, address spaces, memory."""

    code = HvReturn.NO_RESOURCES


class NoDevice(HvError):
    """There is no VM (or no vCPU) that the call could act on."""

    code = HvReturn.NO_DEVICE


class Denied(HvError, PermissionError):
    """The process may not do this."""

    code = HvReturn.DENIED


class Fault(HvError):
    """Memory that the call needed cannot be accessed. Intel only."""

    code = HvReturn.FAULT


class IllegalGuestState(HvError):
    """The guest's registers cannot be run. Apple silicon only; on Intel this is an exit."""

    code = HvReturn.ILLEGAL_GUEST_STATE


class Unsupported(HvError):
    """This engine or host cannot do it."""

    code = HvReturn.UNSUPPORTED


class EngineUnavailable(Unsupported):
    """The engine that was asked for cannot work on this machine; the message says why."""
