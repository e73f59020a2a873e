"""The firmware configuration device: named files and numbered items behind a selector.

Linux, Documentation/ABI/testing/sysfs-firmware-qemu_fw_cfg, and QEMU, docs/specs/fw_cfg.rst: the register interface,
without DMA, which the interface's identification says.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

SIGNATURE, INTERFACE, CPU_COUNT, DIRECTORY, FIRST_FILE = 0x0000, 0x0001, 0x0005, 0x0019, 0x0020
TRADITIONAL = 1
SELECTOR, DATA = 0, 1
NAME_BYTES = 56


class FwCfg:
    """Offset 0 (two bytes) selects an item, offset 1 gives its bytes one after the other, zeros behind the end."""

    width_bytes = 2

    def __init__(self, files: Mapping[str, bytes], cpus: int = 1) -> None:
        self._items = {
            SIGNATURE: b"QEMU",
            INTERFACE: struct.pack("<I", TRADITIONAL),
            CPU_COUNT: struct.pack("<H", cpus),
        }
        entries = []
        for key, (name, data) in enumerate(sorted(files.items()), FIRST_FILE):
            if len(name.encode()) >= NAME_BYTES:
                raise ValueError(f"{name!r} is too long for a name in fw_cfg: {NAME_BYTES - 1} bytes can be")
            self._items[key] = data
            entries.append(struct.pack(f">IHH{NAME_BYTES}s", len(data), key, 0, name.encode()))
        self._items[DIRECTORY] = struct.pack(">I", len(entries)) + b"".join(entries)
        self._selected = b""
        self._at = 0

    def read(self, offset: int, size_bytes: int) -> int:
        value = 0
        for index in range(size_bytes):
            value |= (self._next() if offset + index >= DATA else 0) << 8 * index
        return value

    def write(self, offset: int, size_bytes: int, value: int) -> None:
        if offset == SELECTOR and size_bytes == 2:
            self._selected, self._at = self._items.get(value, b""), 0

    def _next(self) -> int:
        at, self._at = self._at, self._at + 1
        return self._selected[at] if at < len(self._selected) else 0
