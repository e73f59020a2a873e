"""Port notifiers: an OUT that matches becomes a message to somebody, and no exit.

A Mac sends to a Mach port. Here a handle is a file descriptor: a pipe or socket gets one message of 48 bytes (Apple's
`hv_ion_message_t` without the trailer, as its kernel sends it), an eventfd is counted up. As on a Mac a pipe holds five
messages, a socket what the host gives it; what comes then is dropped, or exits normally with EXIT_FULL.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import struct
import termios
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..arch.x86_64.vmcs import Vmcs
from ..errors import BadArgument, HvError
from ..framework import _intel_constants as c

if TYPE_CHECKING:
    from .vcpu import VCpu

_HEADER: Final = struct.Struct("<5Ii")  # mach_msg_header_t
_BODY: Final = struct.Struct("<3Q")  # port, width in bytes, value
MESSAGE_BYTES: Final = _HEADER.size + _BODY.size
QUEUE: Final = 5
_SIZES: Final = (1, 2, 4)
_ANY: Final = int(c.HV_ION_ANY_VALUE), int(c.HV_ION_ANY_SIZE)
_KNOWN: Final = int(c.HV_ION_ANY_VALUE | c.HV_ION_ANY_SIZE | c.HV_ION_EXIT_FULL)

# The exit qualification of an I/O instruction. SDM vol. 3C, "Exit Qualification for I/O Instructions".
_SIZE_MASK, _IN, _STRING, _PORT_SHIFT = 7, 1 << 3, 1 << 4, 16


@dataclass(frozen=True, slots=True)
class Notifier:
    """What to look for, and whom to tell."""

    port: int
    size_bytes: int
    value: int
    handle: int
    flags: int

    def check(self) -> None:
        """Raises BadArgument for what can never match, or cannot be told."""
        any_value, any_size = (bool(self.flags & bit) for bit in _ANY)
        if self.flags & ~_KNOWN:
            raise BadArgument(f"flags {self.flags:#x} has bits that a port notifier does not know; {_KNOWN:#x} it does")
        if not any_size and self.size_bytes not in _SIZES:
            raise BadArgument(f"size is {self.size_bytes}; 1, 2 or 4 would do, or HV_ION_ANY_SIZE")
        if not any_value and not any_size and self.value >> 8 * self.size_bytes:
            raise BadArgument(f"value {self.value:#x} does not fit into {self.size_bytes} bytes")
        try:
            os.fstat(self.handle)
        except OSError:
            raise BadArgument(f"{self.handle} is no open file descriptor; a pipe, a socket or an eventfd is") from None

    def matches(self, port: int, size_bytes: int, value: int) -> bool:
        """Whether this OUT is meant."""
        any_value, any_size = (bool(self.flags & bit) for bit in _ANY)
        sized = any_size or size_bytes == self.size_bytes
        return port == self.port and sized and (any_value or value == self.value)

    def tell(self, port: int, size_bytes: int, value: int) -> bool:
        """Send it. False: the queue is full, and the guest is to exit. A dead port loses it, which is no error."""
        message = _HEADER.pack(0, MESSAGE_BYTES, self.handle, 0, 0, 0) + _BODY.pack(port, size_bytes, value)
        try:
            kind = os.fstat(self.handle).st_mode
            if not stat.S_ISFIFO(kind) and not stat.S_ISSOCK(kind):
                os.write(self.handle, struct.pack("=Q", 1))
            elif _has_room(self.handle, kind):
                os.write(self.handle, message)
            else:
                return not self.flags & c.HV_ION_EXIT_FULL
        except OSError:
            pass
        return True


def _has_room(handle: int, kind: int) -> bool:
    """For one message more. Of a socket the host knows the limit."""
    poll = select.poll()
    poll.register(handle, select.POLLOUT)
    if not poll.poll(0):
        return False
    if not stat.S_ISFIFO(kind):
        return True
    waiting = struct.unpack("i", fcntl.ioctl(handle, termios.FIONREAD, bytes(4)))[0]
    return int(waiting) < QUEUE * MESSAGE_BYTES


class Notifiers:
    """Those of one VM. Any thread adds and removes; vCPUs look whenever an OUT has left the guest."""

    def __init__(self) -> None:
        self.all: tuple[Notifier, ...] = ()
        self._lock = threading.Lock()

    def add(self, notifier: Notifier) -> None:
        """Raises BadArgument, and HvError for one that is there already."""
        notifier.check()
        with self._lock:
            if notifier in self.all:
                raise HvError(f"port {notifier.port:#x} has this very notifier already")
            self.all += (notifier,)

    def remove(self, notifier: Notifier) -> None:
        """Raises HvError where no notifier has these very arguments."""
        with self._lock:
            if notifier not in self.all:
                raise HvError(f"port {notifier.port:#x} has no notifier with these arguments")
            self.all = tuple(one for one in self.all if one != notifier)

    def consume(self, vcpu: VCpu) -> bool:
        """After an I/O exit in Apple's manner: whether a notifier took it. RIP is behind the OUT then."""
        engine = vcpu.engine
        how = engine.read_vmcs(Vmcs.EXIT_QUALIFICATION)
        if how & (_IN | _STRING):
            return False
        port, size_bytes = how >> _PORT_SHIFT & 0xFFFF, (how & _SIZE_MASK) + 1
        value = engine.read_register(int(c.HV_X86_RAX)) & (1 << 8 * size_bytes) - 1
        for notifier in self.all:
            if notifier.matches(port, size_bytes, value):
                if not notifier.tell(port, size_bytes, value):
                    return False
                _skip(vcpu)
                return True
        return False


def _skip(vcpu: VCpu) -> None:
    engine = vcpu.engine
    rip = engine.read_register(int(c.HV_X86_RIP)) + engine.read_vmcs(Vmcs.EXIT_INSTRUCTION_LENGTH)
    engine.write_register(int(c.HV_X86_RIP), rip)
    blocked = engine.read_vmcs(Vmcs.GUEST_INTERRUPTIBILITY)
    if blocked & 3:  # STI and MOV SS hold interrupts off for one instruction, which was this one
        engine.write_vmcs(Vmcs.GUEST_INTERRUPTIBILITY, blocked & ~3)
