"""/dev/kvm: what this machine has, and new VMs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from fcntl import ioctl
from typing import Final

from ...errors import EngineUnavailable, NoResources
from . import abi
from .abi import Cap, Ioctl
from .identity import FEATURES, Answers
from .obstacle import DEVICE, refused

_API_VERSION: Final = 12
_NEEDED: Final = (
    *(Cap.USER_MEMORY, Cap.SET_GUEST_DEBUG, Cap.VCPU_EVENTS, Cap.DEBUGREGS, Cap.XSAVE, Cap.XCRS, Cap.READONLY_MEM),
    *(Cap.IMMEDIATE_EXIT, Cap.X86_USER_SPACE_MSR, Cap.X86_MSR_FILTER, Cap.SREGS2),
)
_OUT_OF: Final = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC})
_NR_MEMSLOTS: Final = 10
_MOST_CPUID: Final = 256

_ALWAYS: Final = {(1, 0, 2): 1 << 31}  # hypervisor present


class System:
    """The open device."""

    def __init__(self) -> None:
        try:
            self._fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
            version = ioctl(self._fd, Ioctl.GET_API_VERSION, 0)
        except OSError as failed:
            raise refused(failed) from None
        if version != _API_VERSION:
            raise EngineUnavailable(f"{DEVICE} speaks version {version} of KVM's API, not {_API_VERSION}")
        missing = [cap.name for cap in _NEEDED if not self.has(cap)]
        if missing:
            raise EngineUnavailable(f"this kernel's KVM lacks {', '.join(missing)}: Linux 5.14 or newer has them")
        self.run_bytes = ioctl(self._fd, Ioctl.GET_VCPU_MMAP_SIZE, 0)
        self.max_vcpus = self.has(Cap.MAX_VCPUS)
        self.slots = self.has(_NR_MEMSLOTS)
        self._supported = self._read_supported()
        self.answers: dict[str, bool] = {}  # what probes have found
        self.added_features: Answers | None = None  # what CPUID says in a guest beyond its table; nobody has looked yet

    def has(self, cap: int) -> int:
        """What KVM_CHECK_EXTENSION says."""
        return ioctl(self._fd, Ioctl.CHECK_EXTENSION, int(cap))

    def create_vm(self) -> int:
        """Its file descriptor."""
        try:
            return ioctl(self._fd, Ioctl.CREATE_VM, 0)
        except OSError as failed:
            if failed.errno in _OUT_OF:
                raise NoResources(f"KVM makes no further VM: {failed.strerror}") from None
            raise refused(failed) from None

    @property
    def gpa_bits(self) -> int:
        """Bits of a guest-physical address."""
        row = self._supported.get((0x8000_0008, 0))
        return (row[0] & 0xFF) if row else 36

    def common_cpuid(
        self, table: Iterable[tuple[int, int, int, int, int, int]]
    ) -> list[tuple[int, int, int, int, int, int]]:
        """`table` without the features that this KVM does not have."""
        rows = []
        for leaf, subleaf, *answer in table:
            here = self._supported.get((leaf, subleaf), (0, 0, 0, 0))
            for position in FEATURES.get((leaf, subleaf), ()):
                answer[position] &= here[position] | _ALWAYS.get((leaf, subleaf, position), 0)
            eax, ebx, ecx, edx = answer
            rows.append((leaf, subleaf, eax, ebx, ecx, edx))
        return rows

    def _read_supported(self) -> dict[tuple[int, int], tuple[int, int, int, int]]:
        image = bytearray(abi.MSRS_HEAD.pack(_MOST_CPUID, 0) + bytes(_MOST_CPUID * abi.CPUID_ENTRY.size))
        ioctl(self._fd, Ioctl.GET_SUPPORTED_CPUID, image)
        count = abi.MSRS_HEAD.unpack_from(image)[0]
        rows = abi.CPUID_ENTRY.iter_unpack(memoryview(image)[8 : 8 + count * abi.CPUID_ENTRY.size])
        return {(leaf, subleaf): (a, b, c, d) for leaf, subleaf, _, a, b, c, d in rows}
