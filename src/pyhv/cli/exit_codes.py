"""The exit codes of `hv`. Odd ones are the guest's own; the table for people is `docs/exit-codes.md`."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Even codes are ours, so a script can tell them from a guest's."""

    SUCCESS = 0
    USAGE = 2
    BAD_IMAGE = 4
    NO_MACHINE = 6
    GUEST_DIED = 8
    HALTED = 10
    NOT_CARRIED = 12
    INSTRUCTION_LIMIT = 14
    RESET = 16
    PANIC = 18
    DIFFERENT = 20
    INTERNAL = 70
    TIMEOUT = 124
    INTERRUPTED = 130


def of_guest(value: int) -> int:
    """What a guest wrote to the exit port, as QEMU's isa-debug-exit makes it: (value << 1) | 1, in 8 bits."""
    return (value << 1 | 1) & 0xFF
