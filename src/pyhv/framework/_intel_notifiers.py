"""Port notifiers. Apple: Hypervisor/hv.h."""

from __future__ import annotations

from typing import Final, SupportsIndex

from .._core.checks import integer
from .._core.notifiers import Notifier
from ._process import the_vm
from ._status import implemented

_U16: Final = 0xFFFF
_U32: Final = 0xFFFF_FFFF


@implemented
def hv_vm_add_pio_notifier(
    addr: SupportsIndex,
    size: SupportsIndex,
    value: SupportsIndex,
    mach_port: SupportsIndex,
    flags: SupportsIndex,
) -> None:
    """Have each OUT of `value` in `size` bytes to port `addr` sent as a message instead of an exit.

    `mach_port` is a file descriptor: a pipe or socket gets 48 bytes a hit (hv_ion_message_t without the trailer), an
    eventfd is counted up. HV_BAD_ARGUMENT for a size that is not 1, 2 or 4 (unless HV_ION_ANY_SIZE), a value that does
    not fit (unless HV_ION_ANY_VALUE), bits that no flag has, a number that is no open file; HV_ERROR for one that is
    there already.
    """
    vm = the_vm()
    vm.notifiers.add(_notifier(addr, size, value, mach_port, flags))


@implemented
def hv_vm_remove_pio_notifier(
    addr: SupportsIndex,
    size: SupportsIndex,
    value: SupportsIndex,
    mach_port: SupportsIndex,
    flags: SupportsIndex,
) -> None:
    """Cancel the notifier with these very arguments; HV_ERROR where there is none. Its handle may be closed by now."""
    vm = the_vm()
    vm.notifiers.remove(_notifier(addr, size, value, mach_port, flags))


def _notifier(
    addr: SupportsIndex, size: SupportsIndex, value: SupportsIndex, mach_port: SupportsIndex, flags: SupportsIndex
) -> Notifier:
    return Notifier(
        integer("addr", addr, high=_U16),
        integer("size", size),
        integer("value", value, high=_U32),
        integer("mach_port", mach_port, high=_U32),
        integer("flags", flags, high=_U32),
    )
