"""What the process is entitled to: everything, until it confines itself or $PYHV_ENTITLEMENTS names a file.

The four keys are Apple's (spec/api: kind "entitlement").
"""

from __future__ import annotations

import os
import plistlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

from ..errors import BadArgument, Denied

VARIABLE: Final = "PYHV_ENTITLEMENTS"
_KEYS: Final = {
    "com.apple.security.hypervisor": "hypervisor",
    "com.apple.vm.hypervisor": "hypervisor",  # the name before macOS 11
    "com.apple.vm.networking": "networking",
    "com.apple.vm.device-access": "device_access",
}


@dataclass(frozen=True, slots=True)
class Entitlements:
    """What a process may do with virtual machines. Nothing, where nothing is said."""

    hypervisor: bool = False
    """Make virtual machines: `com.apple.security.hypervisor`, before macOS 11 `com.apple.vm.hypervisor`."""
    networking: bool = False
    """Network devices of the host: `com.apple.vm.networking`."""
    device_access: bool = False
    """USB devices of the host: `com.apple.vm.device-access`."""

    @classmethod
    def parse(cls, data: bytes, name: str = "the entitlements") -> Self:
        """From a property list as codesign takes it, XML or binary. Raises BadArgument. Keys of others are ignored."""
        try:
            entries = plistlib.loads(data)
        except Exception as error:  # what the parsers raise is of many kinds
            raise BadArgument(f"{name} is not a property list: {str(error) or type(error).__name__}") from None
        if not isinstance(entries, dict):
            raise BadArgument(f"{name} is a property list of a {type(entries).__name__}; a dictionary would do")
        granted = dict.fromkeys((field.name for field in fields(cls)), False)
        for key, entitlement in _KEYS.items():
            value = entries.get(key, False)
            if not isinstance(value, bool):
                raise BadArgument(f"{name}: {key} is {value!r}; <true/> or <false/> would do")
            granted[entitlement] |= value
        return cls(**granted)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """From a file. Raises BadArgument for one that cannot be read or is no such list."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise BadArgument(f"the entitlements {os.fspath(path)} cannot be read: {error.strerror}") from None
        return cls.parse(data, f"the entitlements {os.fspath(path)}")


ALL: Final = Entitlements(True, True, True)
_confined: Entitlements | None = None


def of_process() -> Entitlements:
    """What holds now: what the process has confined itself to, else the file of $PYHV_ENTITLEMENTS, else all.

    Raises BadArgument where that file is none.
    """
    if _confined is not None:
        return _confined
    path = os.environ.get(VARIABLE)
    return Entitlements.read(path) if path else ALL


def confine(entitlements: Entitlements) -> None:
    """From now on; `pyhv.sandbox.enter` calls it."""
    global _confined  # noqa: PLW0603 - a state of the process, like the confinement itself
    _confined = entitlements


def require_hypervisor() -> None:
    """Raises Denied where the process may not make a VM."""
    if not of_process().hypervisor:
        who = "its sandbox" if _confined is not None else f"${VARIABLE}={os.environ.get(VARIABLE)}"
        raise Denied(
            f"this process may not make virtual machines: {who} lacks the entitlement com.apple.security.hypervisor"
        )
