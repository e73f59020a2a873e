"""Which MSRs leave the guest: KVM takes 16 ranges with a bitmap each. Linux: KVM API, "KVM_X86_SET_MSR_FILTER"."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from fcntl import ioctl
from typing import Final

from ...errors import NoResources
from . import abi
from .abi import Ioctl

_MOST_MSRS: Final = 8 * 0x600  # a bitmap has at most 0x600 bytes
_Range = tuple[int, int, bytes]


def packed(msrs: Iterable[int]) -> list[_Range]:
    """Few ranges around these MSRs: the first of each, how many it spans, and a bitmap with 0 for those that leave."""
    ranges: list[_Range] = []
    near: list[int] = []
    for msr in [*sorted(set(msrs)), None]:
        if near and (msr is None or msr - near[0] >= _MOST_MSRS):
            ranges.append(_range(near))
            near = []
        if msr is not None:
            near.append(msr)
    return ranges


def _range(near: list[int]) -> _Range:
    first, count = near[0], near[-1] - near[0] + 1
    allowed = (1 << count) - 1
    for msr in near:
        allowed &= ~(1 << msr - first)
    return first, count, allowed.to_bytes((count + 63) // 64 * 8, "little")


def set_filter(vm_fd: int, msrs: Iterable[int]) -> None:
    """Let reads and writes of these leave, on every vCPU of a VM. NoResources where they lie too far apart."""
    ranges = packed(msrs)
    if len(ranges) > abi.MSR_FILTER_RANGES:
        raise NoResources(
            f"the chosen MSRs lie in {len(ranges)} places more than {_MOST_MSRS:#x} apart, and KVM lets"
            f" {abi.MSR_FILTER_RANGES} such places of a VM leave: choose fewer, or use the soft engine"
        )
    _set(vm_fd, ranges, 0)


def deny_all(vm_fd: int) -> None:
    """Let reads and writes of every MSR leave that KVM can intercept, on every vCPU of a VM."""
    _set(vm_fd, packed([0]), abi.MSR_FILTER_DENY)  # it wants one range


def _set(vm_fd: int, ranges: list[_Range], flags: int) -> None:
    bitmaps = [ctypes.create_string_buffer(bitmap, len(bitmap)) for _, _, bitmap in ranges]
    rows = [
        abi.MSR_FILTER_RANGE.pack(abi.MSR_FILTER_BOTH, count, first, ctypes.addressof(bitmap))
        for (first, count, _), bitmap in zip(ranges, bitmaps, strict=True)
    ]
    ioctl(
        vm_fd,
        Ioctl.X86_SET_MSR_FILTER,
        (abi.MSR_FILTER_HEAD.pack(flags) + b"".join(rows)).ljust(abi.MSR_FILTER_BYTES, b"\0"),
    )
