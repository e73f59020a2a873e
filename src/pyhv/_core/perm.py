"""What a guest may do with a mapping."""

from __future__ import annotations

from enum import IntFlag


class Perm(IntFlag):
    """Rights of the guest on mapped memory; they are independent of each other. Apple: hv_memory_flags_t."""

    NONE = 0
    READ = 1
    WRITE = 2
    EXEC = 4
    R = READ
    RW = READ | WRITE
    RX = READ | EXEC
    RWX = READ | WRITE | EXEC
