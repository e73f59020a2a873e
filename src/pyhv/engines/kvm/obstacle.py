"""Why KVM cannot be used here, and what to do about it."""

from __future__ import annotations

import errno
import grp
import os
import platform
import pwd
import stat
import sys
from pathlib import Path
from typing import Final

from ...errors import Denied, EngineUnavailable

DEVICE: Final = Path("/dev/kvm")
_CPUINFO: Final = Path("/proc/cpuinfo")
_CONTAINER_MARKS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))
_MACHINES: Final = frozenset({"x86_64", "AMD64"})
_MODULES: Final = {"vmx": "kvm_intel", "svm": "kvm_amd"}


def obstacle() -> tuple[str, bool]:
    """Why KVM cannot be used here and what to do, and whether it is only a matter of rights. Empty: it can."""
    if sys.platform != "linux":
        return f"KVM needs Linux, not {sys.platform}", False
    if platform.machine() not in _MACHINES:
        return f"KVM on {platform.machine()} runs guests of its own kind, not x86-64 ones: the soft engine does", False
    if not DEVICE.exists():
        return f"there is no {DEVICE}: {_how_to_get_one()}", False
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return _how_to_get_in(), True
    return "", False


def refused(failed: OSError) -> EngineUnavailable | Denied:
    """What a device that is there and has the rights, and cannot be opened or used, is about."""
    if failed.errno in (errno.EACCES, errno.EPERM):
        return Denied(
            f"{DEVICE} may not be opened though its rights allow it: this process is in a sandbox, or its container was"
            f" not given the device (--device {DEVICE}): {failed.strerror}"
        )
    if failed.errno in (errno.ENODEV, errno.ENXIO):
        return EngineUnavailable(f"{DEVICE} is there, but nobody behind it: {_how_to_get_one()}")
    if failed.errno == errno.ENOTTY:
        return EngineUnavailable(f"{DEVICE} is not KVM's: it takes none of its requests")
    if failed.errno == errno.EBUSY:
        return EngineUnavailable("the processor's virtualization is in use by another hypervisor (VirtualBox, VMware)")
    return EngineUnavailable(f"{DEVICE} does not work: {failed.strerror}")


def _how_to_get_one() -> str:
    flags = _processor_flags()
    module = next((module for flag, module in _MODULES.items() if flag in flags), None)
    if _in_container():
        return f"give the container the device (--device {DEVICE}), on a machine that has it"
    if module is not None:
        return f"load its module (modprobe {module})"
    if "hypervisor" in flags:
        return "this is a virtual machine; switch nested virtualization on for it where it runs"
    return "switch virtualization (VT-x, AMD-V) on in the firmware, and load the module kvm_intel or kvm_amd"


def _how_to_get_in() -> str:
    """By the rights that the device has: a group that may, or none."""
    about = DEVICE.stat()
    group, user = _name_of(about.st_gid), _user()
    rights = f"{DEVICE} belongs to group {group}, mode {stat.S_IMODE(about.st_mode):03o}"
    if about.st_mode & 0o060 == 0o060 and about.st_gid != 0:
        return (
            f"user {user} may not open it: {rights}. Add the user (usermod -aG {group} {user}) and log in again;"
            f" for a container: --group-add {about.st_gid}"
        )
    return (
        f"user {user} may not open it: {rights}. As root: groupadd -f kvm; chgrp kvm {DEVICE}; chmod 660 {DEVICE};"
        f" usermod -aG kvm {user}; then log in again"
    )


def _in_container() -> bool:
    return "container" in os.environ or any(mark.exists() for mark in _CONTAINER_MARKS)


def _processor_flags() -> set[str]:
    try:
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def _name_of(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
