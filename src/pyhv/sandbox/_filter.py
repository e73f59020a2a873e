"""The system-call filter: what no guest needs is EPERM, and what entitlements open is EPERM without them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any, Final

from .._core.entitled import Entitlements
from ..errors import Unsupported

REFUSED: Final = (
    # other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd",
    # the kernel and the machine
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "bpf", "perf_event_open",
    "reboot", "swapon", "swapoff", "iopl", "ioperm", "syslog", "acct", "settimeofday", "clock_settime", "adjtimex",
    "clock_adjtime", "sethostname", "setdomainname", "quotactl", "nfsservctl", "vhangup",
    # what leads around the rules for files, or around this filter
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "open_by_handle_at", "name_to_handle_at", "setns", "unshare", "io_uring_setup", "userfaultfd",
    "add_key", "request_key", "keyctl", "mknod", "mknodat",
)  # fmt: skip
"""System calls that are EPERM for every confined process, of those that this machine's library knows."""

# Linux: include/uapi/linux/kvm.h, if_tun.h, usbdevice_fs.h; the type is in bits 8 to 15 of the command.
KVM_TYPE, USB_TYPE, TYPE_MASK = 0xAE00, 0x5500, 0xFF00
TUNSETIFF: Final = 0x400454CA
SOCK_TYPE_MASK: Final = 0xF


def install(entitlements: Entitlements) -> None:
    """For this thread and all that it starts. Raises Unsupported without libseccomp."""
    seccomp = _library()
    rules = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
    refuse = seccomp.ERRNO(errno.EPERM)
    for name in REFUSED:
        _add(seccomp, rules, refuse, name)
    for name, arguments in _by_entitlement(seccomp, entitlements):
        _add(seccomp, rules, refuse, name, arguments)
    rules.load()


def check() -> None:
    """Raises Unsupported without libseccomp."""
    _library()


def _by_entitlement(seccomp: Any, entitlements: Entitlements) -> list[tuple[str, Sequence[Any]]]:
    """Calls that their arguments make a matter of entitlements: a device may be open already, or come by a socket."""

    def ioctl_of(kind: int) -> tuple[str, Sequence[Any]]:
        return "ioctl", [seccomp.Arg(1, seccomp.MASKED_EQ, TYPE_MASK, kind)]

    rows: list[tuple[str, Sequence[Any]]] = []
    if not entitlements.hypervisor:
        rows.append(ioctl_of(KVM_TYPE))
    if not entitlements.device_access:
        rows.append(ioctl_of(USB_TYPE))
    if not entitlements.networking:
        rows += [
            ("ioctl", [seccomp.Arg(1, seccomp.EQ, TUNSETIFF)]),
            ("socket", [seccomp.Arg(0, seccomp.EQ, socket.AF_PACKET)]),
            ("socket", [seccomp.Arg(1, seccomp.MASKED_EQ, SOCK_TYPE_MASK, socket.SOCK_RAW)]),
        ]
    return rows


def _add(seccomp: Any, rules: Any, action: int, name: str, arguments: Sequence[Any] = ()) -> None:
    if name in REFUSED:
        try:
            if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) < 0:
                return
        except ValueError:
            return
    rules.add_rule(action, name, *arguments)


def _library() -> Any:
    try:
        import pyseccomp  # noqa: PLC0415 - it loads libseccomp, which only a confined process needs
    except (ImportError, OSError, RuntimeError) as error:
        raise Unsupported(
            f"the sandbox needs libseccomp ({error}); on Debian: apt-get install libseccomp2, and pip install pyseccomp"
        ) from None
    return pyseccomp
