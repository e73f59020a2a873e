"""Message-signalled interrupts with a table.

PCI Local Bus Specification 3.0, "MSI-X Capability and Table Structures".
"""

from __future__ import annotations

import struct
from collections.abc import Callable

CAPABILITY = 0x11
ENTRY_BYTES = 16
MASKED = 1  # in an entry's vector control
ENABLE, MASK_ALL = 0x8000, 0x4000  # in the message control
MESSAGES = 0xFEE  # bits 31:20 of an address that means an interrupt
FRESH = struct.pack("<QII", 0, 0, MASKED)


class MsixTable:
    """The table and the pending bits; `fire` sends a message or keeps it pending while it is masked."""

    def __init__(self, vectors: int, send: Callable[[int, int], None]) -> None:
        self.vectors = vectors
        self._send = send
        self._table = bytearray(FRESH * vectors)
        self._pending = 0
        self._control = 0

    def capability(self, bar: int, table_offset: int, pending_offset: int) -> tuple[bytes, bytes]:
        """The capability's body, and the mask of what the guest may write of it."""
        return (
            struct.pack("<HII", self.vectors - 1, table_offset | bar, pending_offset | bar),
            struct.pack("<H", ENABLE | MASK_ALL),
        )

    @property
    def enabled(self) -> bool:
        return bool(self._control & ENABLE)

    def set_control(self, value: int) -> None:
        """The message control was written."""
        self._control = value
        self._send_pending()

    def reset(self) -> None:
        self._table[:] = FRESH * self.vectors
        self._pending = self._control = 0

    def fire(self, vector: int) -> None:
        """Interrupt by an entry of the table; a vector that is not there is none."""
        if vector >= self.vectors or not self.enabled:
            return
        address, data, control = struct.unpack_from("<QII", self._table, vector * ENTRY_BYTES)
        if self._control & MASK_ALL or control & MASKED:
            self._pending |= 1 << vector
        elif address >> 20 == MESSAGES:  # elsewhere it would be a write to memory, and that we do not do for a guest
            self._send(address, data)

    def read_table(self, offset: int, size_bytes: int) -> int:
        return int.from_bytes(self._table[offset : offset + size_bytes], "little")

    def write_table(self, offset: int, size_bytes: int, value: int) -> None:
        if offset + size_bytes <= len(self._table):
            self._table[offset : offset + size_bytes] = value.to_bytes(size_bytes, "little")
            self._send_pending()

    def read_pending(self, offset: int, size_bytes: int) -> int:
        return self._pending >> 8 * offset & ((1 << 8 * size_bytes) - 1)

    def _send_pending(self) -> None:
        waiting, self._pending = self._pending, 0
        for vector in range(self.vectors):
            if waiting >> vector & 1:
                self.fire(vector)
