from __future__ import annotations

import threading
import weakref

from pyhv._core import threads


def test_a_thread_keeps_its_token() -> None:
    assert threads.current() is threads.current()


def test_a_token_dies_with_its_thread_and_is_not_taken_for_the_next() -> None:
    found: list[weakref.ref[threads.ThreadToken]] = []

    def work() -> None:
        assert threads.current() is not main
        found.append(weakref.ref(threads.current()))

    main = threads.current()
    for _ in range(5):
        worker = threading.Thread(target=work, name="worker")
        worker.start()
        worker.join()
    assert [token() for token in found] == [None] * 5
