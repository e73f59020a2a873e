"""Several logs over one bit a page: each tells what it would alone."""

from __future__ import annotations

import random
import threading
import time
from itertools import pairwise

import pytest

from pyhv import VirtualMachine
from pyhv._core.dirty import DirtyLog, DirtyLogs, DirtyPages, _runs
from pyhv.addresses import GPA
from pyhv.errors import Closed, Unsupported

PAGE = 4096


class Engine:
    """Pages as sets; starting or stopping one twice is an error, as the protocol says."""

    def __init__(self) -> None:
        self.logged: set[int] = set()
        self.written: set[int] = set()

    @staticmethod
    def _range(gpa: int, size: int) -> set[int]:
        assert gpa % PAGE == 0 and size % PAGE == 0 and size > 0
        return set(range(gpa // PAGE, (gpa + size) // PAGE))

    def start(self, gpa: int, size: int) -> None:
        assert not self.logged & self._range(gpa, size)
        self.logged |= self._range(gpa, size)

    def stop(self, gpa: int, size: int) -> None:
        assert self.logged >= self._range(gpa, size)
        self.logged -= self._range(gpa, size)
        self.written -= self._range(gpa, size)

    def take(self, gpa: int, size: int) -> bytes:
        pages = self._range(gpa, size)
        assert self.logged >= pages
        bits = sum(1 << page - gpa // PAGE for page in self.written & pages)
        self.written -= pages
        return bits.to_bytes((size // PAGE + 7) // 8, "little")

    def mark(self, gpa: int, size: int) -> None:
        self.written |= set(range(gpa // PAGE, (gpa + size - 1) // PAGE + 1)) & self.logged


@pytest.mark.parametrize("seed", range(20))
def test_each_log_is_as_if_it_were_alone(seed: int) -> None:
    choice, engine = random.Random(seed), Engine()
    logs = DirtyLogs(engine, PAGE)
    live: list[tuple[DirtyLog, set[int]]] = []  # and the pages that it has to tell
    for _ in range(300):
        match choice.randrange(6):
            case 0:
                first, count = choice.randrange(40), choice.randrange(1, 30)
                live.append((logs.add(first * PAGE, count * PAGE), set()))
            case 1 if live:
                live.pop(choice.randrange(len(live)))[0].close()
            case 2 | 3 if live:
                log, expected = choice.choice(live)
                assert {gpa // PAGE for gpa in log.take()} == expected
                expected.clear()
            case _:
                gpa, size = choice.randrange(80 * PAGE), choice.choice([1, 8, PAGE, 3 * PAGE])
                logs.mark(gpa, size)
                pages = set(range(gpa // PAGE, (gpa + size - 1) // PAGE + 1))
                for log, expected in live:
                    expected.update(pages & set(range(log.gpa // PAGE, (log.gpa + log.size_bytes) // PAGE)))
        needed = {n for log, _ in live for n in range(log.gpa // PAGE, (log.gpa + log.size_bytes) // PAGE)}
        assert engine.logged == needed


def test_a_log_that_nobody_holds_ends_with_the_next_one() -> None:
    engine = Engine()
    logs = DirtyLogs(engine, PAGE)
    logs.add(0, 4 * PAGE)
    log = logs.add(8 * PAGE, PAGE)
    assert engine.logged == {8}
    assert not log.closed


def test_runs_of_random_bits() -> None:
    choice = random.Random(1)
    for _ in range(200):
        pages = {choice.randrange(300) for _ in range(choice.choice([0, 1, 5, 200]))} | set(range(64, 192))
        bits = sum(1 << n for n in pages)
        assert {n for first, end in _runs(bits) for n in range(first, end)} == pages
        runs = list(_runs(bits))
        assert all(one[1] < other[0] for one, other in pairwise(runs))
        assert list(DirtyPages(GPA(0x5000), PAGE, bits)) == [0x5000 + PAGE * n for n in sorted(pages)]


def test_an_engine_without_a_log_says_so() -> None:
    logs = DirtyLogs(None, PAGE)
    with pytest.raises(Unsupported, match="logs no stores"):
        logs.add(0, PAGE)
    logs.mark(0, PAGE)
    logs.close()
    with pytest.raises(Closed):
        logs.add(0, PAGE)


def test_each_address_space_has_logs_of_its_own() -> None:
    with VirtualMachine("soft") as vm:
        other = vm.add_space()
        vm.map(at=0, size=PAGE)
        other.map(at=0, size=PAGE)
        mine, its = vm.dirty_log(at=0, size=PAGE), other.dirty_log(at=0, size=PAGE)
        other.write(0, b"x")
        assert (len(mine.take()), len(its.take())) == (0, 1)
        other.mark_written(0)
        assert (len(mine.take()), len(its.take())) == (0, 1)
        other.close()
        assert its.closed
        with pytest.raises(Closed):
            its.take()


def test_an_address_space_that_closes_waits_for_whoever_takes_a_log() -> None:
    """Its engine is gone afterwards."""
    inside, go_on, order = threading.Event(), threading.Event(), list[str]()

    class Slow(Engine):
        def take(self, gpa: int, size: int) -> bytes:
            inside.set()
            go_on.wait(10)
            order.append("taken")
            return super().take(gpa, size)

    logs = DirtyLogs(Slow(), PAGE)
    go_on.set()
    log = logs.add(0, PAGE)
    go_on.clear(), inside.clear()
    threads = [threading.Thread(target=log.take)]
    threads[0].start()
    inside.wait(10)
    threads.append(threading.Thread(target=lambda: (logs.close(), order.append("closed"))))
    threads[1].start()
    time.sleep(0.02)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert order == ["taken", "closed"]
    with pytest.raises(Closed):
        log.take()
