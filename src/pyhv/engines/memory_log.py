"""The dirty log that the software CPU's memory keeps."""

from __future__ import annotations

from .. import _silicon


class MemoryLog:
    """An EngineDirtyLog: stores of software vCPUs, and those that go through `GuestMemory.write`."""

    def __init__(self, memory: _silicon.GuestMemory) -> None:
        self._memory = memory
        self.mark = memory.mark_written
        self.take = memory.take_written

    def start(self, gpa: int, size: int) -> None:
        """Log a range."""
        self._memory.log(gpa, size, True)

    def stop(self, gpa: int, size: int) -> None:
        """No longer."""
        self._memory.log(gpa, size, False)
