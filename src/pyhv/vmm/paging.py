"""4-level page tables built outside the guest: identity, with windows. Intel SDM vol. 3A, "4-Level Paging"."""

from __future__ import annotations

import struct

PAGE, LARGE = 1 << 12, 1 << 21
ENTRIES = 512
PRESENT, WRITABLE, PAGE_SIZE = 1 << 0, 1 << 1, 1 << 7
TABLE = PRESENT | WRITABLE
ADDRESS = 0x000F_FFFF_FFFF_F000
_SHIFTS = (39, 30, 21, 12)


class PageTables:
    """Tables that will lie at GPA `at`, the PML4 first. Later mappings replace earlier ones."""

    def __init__(self, at: int) -> None:
        self.at = at
        self._tables: list[list[int]] = [[0] * ENTRIES]

    def map(self, gva: int, gpa: int, size_bytes: int) -> None:
        """Map whole pages with all rights for the supervisor; 2 MiB pages where both addresses allow it."""
        done = 0
        while done < size_bytes:
            fits = (gva + done) % LARGE == 0 == (gpa + done) % LARGE and size_bytes - done >= LARGE
            self._set(gva + done, gpa + done, large=fits)
            done += LARGE if fits else PAGE

    @property
    def data(self) -> bytes:
        """All tables, in order."""
        return b"".join(struct.pack(f"<{ENTRIES}Q", *table) for table in self._tables)

    def _set(self, gva: int, gpa: int, *, large: bool) -> None:
        table = self._tables[0]
        for level, shift in enumerate(_SHIFTS):
            index = gva >> shift & ENTRIES - 1
            if level == (2 if large else 3):
                table[index] = gpa | TABLE | PAGE_SIZE * large
                return
            if table[index] & PAGE_SIZE:
                self._split(table, index)
            elif not table[index]:
                table[index] = self._new_table() | TABLE
            table = self._tables[((table[index] & ADDRESS) - self.at) // PAGE]

    def _new_table(self) -> int:
        self._tables.append([0] * ENTRIES)
        return self.at + PAGE * (len(self._tables) - 1)

    def _split(self, table: list[int], index: int) -> None:
        """Make 512 small pages of a large one."""
        start = table[index] & ADDRESS
        table[index] = self._new_table() | TABLE
        self._tables[-1] = [start + PAGE * i | TABLE for i in range(ENTRIES)]
