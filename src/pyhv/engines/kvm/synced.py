"""General registers and segments that KVM leaves in kvm_run at each exit, and takes from there: no ioctl for them.

Linux: KVM API, "KVM_CAP_SYNC_REGS". Where KVM has not that, the ioctls.
"""

from __future__ import annotations

from fcntl import ioctl
from struct import pack_into
from typing import TYPE_CHECKING, Final

from . import abi
from .abi import Cap, Ioctl

if TYPE_CHECKING:
    from .system import System as Device
    from .vm import Seat

_REGS, _SREGS = 1, 2
_REGS_AT, _REGS_END = abi.SYNC_REGS_AT, abi.SYNC_REGS_AT + abi.REGS.size
_SREGS_END: Final = _REGS_END + abi.SREGS2_COMMON_BYTES
_CR0_AT, _CR4_AT, _EFER_AT = (_REGS_END + at for at in (224, 248, 264))
_REST: Final = bytes(abi.SREGS2.size - abi.SREGS2_COMMON_BYTES)
_PAE, _LMA = 1 << 5, 1 << 10


class Synced:
    """Those of one vCPU."""

    def __init__(self, seat: Seat, device: Device) -> None:
        self._fd, self._run = seat.fd, seat.run
        self._works = device.has(Cap.SYNC_REGS) & 3 == 3
        self._image = bytearray(abi.REGS.size)
        pack_into("<Q", self._run, abi.SYNC_VALID_AT, _REGS | _SREGS if self._works else 0)

    def general(self) -> tuple[int, ...]:
        """KVM's general registers after a KVM_RUN, in its order."""
        if self._works:
            return abi.REGS.unpack_from(self._run, _REGS_AT)
        ioctl(self._fd, Ioctl.GET_REGS, self._image)
        return abi.REGS.unpack(self._image)

    def set_general(self, image: bytes) -> None:
        """KVM has these at the next KVM_RUN, which is to finish nothing else."""
        if self._works:
            self._run[_REGS_AT:_REGS_END] = image
            pack_into("<Q", self._run, abi.SYNC_DIRTY_AT, _REGS)
        else:
            ioctl(self._fd, Ioctl.SET_REGS, image)

    def segments(self) -> bytes:
        """Segments, tables and control registers after a KVM_RUN, as KVM_GET_SREGS2 gives them."""
        if self._works and not self._has_pdptes():
            return bytes(self._run[_REGS_END:_SREGS_END]) + _REST
        image = bytearray(abi.SREGS2.size)
        ioctl(self._fd, Ioctl.GET_SREGS2, image)
        return bytes(image)

    def _has_pdptes(self) -> bool:
        """PAE paging outside long mode: KVM_RUN does not leave them."""
        run = self._run
        paging = run[_CR0_AT + 3] >> 7 and run[_CR4_AT] & _PAE
        return bool(paging and not run[_EFER_AT + 1] & _LMA >> 8)
