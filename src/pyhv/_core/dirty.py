"""Which pages of guest memory were written: for snapshots, screens and migration."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, SupportsIndex

from ..addresses import GPA
from ..errors import Closed, Unsupported
from .checks import integer

if TYPE_CHECKING:
    from ..engines.base import EngineDirtyLog

_WORD: Final = 8


@dataclass(frozen=True, slots=True)
class DirtyPages:
    """Some pages of guest memory: bit n of `bits` is the page at `gpa` + n * `page_bytes`.

    Iterating gives the GPA of each, lowest first; `runs()` those that lie together as one; `len()` how many there are.
    """

    gpa: GPA
    page_bytes: int
    bits: int

    def __len__(self) -> int:
        return self.bits.bit_count()

    def __bool__(self) -> bool:
        return self.bits != 0

    def __contains__(self, gpa: SupportsIndex) -> bool:
        """Whether the page around a GPA is one of them."""
        page = (integer("gpa", gpa) - self.gpa) // self.page_bytes
        return page >= 0 and bool(self.bits >> page & 1)

    def __iter__(self) -> Iterator[GPA]:
        for start, size in self.runs():
            yield from map(GPA, range(start, start + size, self.page_bytes))

    def runs(self) -> Iterator[tuple[GPA, int]]:
        """Pages that lie together, as (GPA of the first, bytes), lowest first."""
        for first, end in _runs(self.bits):
            yield GPA(self.gpa + first * self.page_bytes), (end - first) * self.page_bytes


class DirtyLog:
    """The pages of one range that were written since the log was last taken.

    `Mapping.dirty_log`, `VirtualMachine.dirty_log` and `Space.dirty_log` make it. Counted are stores of vCPUs, the
    processor's own (accessed and dirty bits of page tables, descriptors, task state, stacks), `VirtualMachine.write`
    and its kin, and mapping a page anew. Not counted is what this process writes through a buffer, the `Mapping` itself
    too, unless it says so: `VirtualMachine.mark_written`. Nothing is ever lost; a page may be told that was not changed
    (an instruction was about to write to it, KVM made it writable, a running vCPU might have stored while `protect` or
    `unmap` cut its mapping). Memory that is mapped at a second place too is logged where it is stored to.

    Any number may be on one range, each with pages of its own. As a context manager it closes. Any thread.
    """

    def __init__(self, logs: DirtyLogs, gpa: int, size_bytes: int, page_bytes: int) -> None:
        self.gpa: Final = GPA(gpa)
        self.size_bytes: Final = size_bytes
        self.page_bytes: Final = page_bytes
        self._logs: DirtyLogs | None = logs
        self.pending = 0
        """Found when another log was taken; `DirtyLogs` keeps it."""

    def take(self) -> DirtyPages:
        """The pages that were written since the last time, and forget them, while vCPUs run.

        What a page that is told held before is gone when this returns: read it afterwards, and no store is missed.
        A store that comes later is told next time. Raises Closed.
        """
        return DirtyPages(self.gpa, self.page_bytes, self._open().take(self))

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its address space was."""
        return self._logs is None or self._logs.closed

    def close(self) -> None:
        """Log no longer; twice is fine."""
        logs, self._logs = self._logs, None
        if logs is not None and not logs.closed:
            logs.drop(self)

    def _open(self) -> DirtyLogs:
        if self._logs is None:
            raise Closed("the dirty log was closed before this use; dirty_log() makes a new one")
        return self._logs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = ", closed" if self.closed else ""
        return f"<DirtyLog of gpa {self.gpa:#x} to {self.gpa + self.size_bytes:#x}{what}>"


class DirtyLogs:
    """The logs of one address space. The engine knows one bit a page; what it tells goes to every log of the page."""

    def __init__(self, engine: EngineDirtyLog | None, page_bytes: int) -> None:
        self._engine, self._page = engine, page_bytes
        self._lock = threading.RLock()
        self._live: weakref.WeakSet[DirtyLog] = weakref.WeakSet()
        self._logged: list[tuple[int, int]] = []  # what the engine logs: apart, in no order
        self.closed = False

    def add(self, gpa: int, size_bytes: int) -> DirtyLog:
        """A further one. Raises Unsupported where the engine has none."""
        engine = self._require_engine()
        log = DirtyLog(self, gpa, size_bytes, self._page)
        with self._lock:
            self._require_engine()  # nobody closed it meanwhile
            self._share(gpa, size_bytes)
            for first, end in _without([(gpa, gpa + size_bytes)], self._logged):
                engine.start(first, end - first)
                self._logged.append((first, end))
            self._live.add(log)
            self._settle(engine)
        return log

    def take(self, log: DirtyLog) -> int:
        """The pages of one log."""
        with self._lock:
            self._share(log.gpa, log.size_bytes)
            pages, log.pending = log.pending, 0
        return pages

    def mark(self, gpa: int, size_bytes: int) -> None:
        """Somebody has written there."""
        if self._logged:
            self._require_engine().mark(gpa, size_bytes)

    def drop(self, log: DirtyLog) -> None:
        """One is closed."""
        with self._lock:
            self._live.discard(log)
            if self._engine is not None and not self.closed:
                self._settle(self._engine)

    def close(self) -> None:
        """All end with their address space: nobody is in its engine any more when this returns."""
        with self._lock:
            self.closed = True

    def abandon(self) -> None:
        """The same without waiting. For the child of a fork."""
        self._lock = threading.RLock()
        self.closed = True

    def _require_engine(self) -> EngineDirtyLog:
        if self.closed:
            raise Closed("the dirty log's address space was closed before this use")
        if self._engine is None:
            raise Unsupported("this engine logs no stores; the soft and kvm engines do")
        return self._engine

    def _share(self, gpa: int, size_bytes: int) -> None:
        """Take what the engine has of the range to all logs of it."""
        engine = self._require_engine()
        for first, end in self._logged:
            start, stop = max(first, gpa), min(end, gpa + size_bytes)
            if start >= stop:
                continue
            found = int.from_bytes(engine.take(start, stop - start), "little")
            for log in self._live if found else ():
                log.pending |= _moved(found, (start - log.gpa) // self._page) & (1 << log.size_bytes // self._page) - 1

    def _settle(self, engine: EngineDirtyLog) -> None:
        """Let the engine log no more than the live logs need."""
        needed = [(int(log.gpa), log.gpa + log.size_bytes) for log in self._live]
        idle = _without(self._logged, needed)
        for first, end in idle:
            engine.stop(first, end - first)
        self._logged = _without(self._logged, idle)


def _without(ranges: list[tuple[int, int]], holes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """`ranges` cut by `holes`."""
    for low, high in holes:
        cut = []
        for first, end in ranges:
            parts = ((first, min(end, low)), (max(first, high), end))
            cut += [part for part in parts if part[0] < part[1]]
        ranges = cut
    return ranges


def _moved(bits: int, places: int) -> int:
    return bits << places if places >= 0 else bits >> -places


def _runs(bits: int) -> Iterator[tuple[int, int]]:
    """The runs of ones, as (first, end)."""
    image = bits.to_bytes(-(-bits.bit_length() // 64) * _WORD + _WORD, "little")
    first = None
    for at in range(0, len(image), _WORD):
        word = int.from_bytes(image[at : at + _WORD], "little")
        if word == (0 if first is None else (1 << 64) - 1):
            continue
        for n in range(64):
            if word >> n & 1 and first is None:
                first = at * 8 + n
            elif not word >> n & 1 and first is not None:
                yield first, at * 8 + n
                first = None
