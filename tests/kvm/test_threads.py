"""Who runs a vCPU, and what ends its runs, when threads come and go."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from pyhv import DeadlinePassed, Exit, Kicked, PortOut, VCpu, VirtualMachine
from pyhv.engines.kvm import timer
from pyhv.errors import Busy
from pyhv.testing.guest import CODE, guest

FOREVER = "ebfe"


def in_thread_of_its_own(cpu: VCpu, deadline_ns: int | None = None) -> tuple[int | None, Exit]:
    """Run it in a new thread, and kick it after 20 ms: the thread's number, and the exit."""
    found: list[Exit] = []
    thread = Thread(target=lambda: found.append(cpu.run(deadline_ns=deadline_ns)))
    thread.start()
    number = thread.ident
    if deadline_ns is None:
        time.sleep(0.02)
        cpu.kick()
    thread.join(10)
    assert found, "it runs on"
    return number, found[0]


@contextmanager
def kicked_soon(cpu: VCpu) -> Iterator[None]:
    """Somebody kicks it after 20 ms."""
    timer_thread = threading.Timer(0.02, cpu.kick)
    timer_thread.start()
    yield
    timer_thread.join()


def test_a_thread_with_the_number_of_one_that_has_ended_is_another(kvm: str) -> None:
    """Its signal mask and its timer are its own: numbers of threads are used again."""
    with guest(kvm, FOREVER) as g:
        numbers = set()
        for _ in range(4):
            number, found = in_thread_of_its_own(g.cpu)
            assert found == Kicked()
            numbers.add(number)
            number, found = in_thread_of_its_own(g.cpu, g.vm.clock.now_ns + 20_000_000)
            assert found == DeadlinePassed()
            numbers.add(number)
        assert len(numbers) < 8, "no number came twice: this test shows nothing"


def test_a_kick_after_its_thread_has_ended_counts_for_the_next_run(kvm: str) -> None:
    with guest(kvm, FOREVER) as g:
        in_thread_of_its_own(g.cpu)
        g.cpu.kick()
        assert g.cpu.run() == Kicked()


def test_a_signal_handler_may_kick(kvm: str) -> None:
    """It runs on the main thread between slices, where nothing else has to be done for it."""
    with guest(kvm, FOREVER) as g:
        before = signal.signal(signal.SIGALRM, lambda *_: g.cpu.kick())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert g.cpu.run() == Kicked()
        finally:
            signal.signal(signal.SIGALRM, before)


def test_slices_come_again_after_a_deadline_and_a_rest(kvm: str) -> None:
    """The main thread's timer is set once for all runs without a deadline: a deadline between them resets it."""
    with guest(kvm, FOREVER) as g:
        for _ in range(3):
            assert g.cpu.run(deadline_ns=g.vm.clock.now_ns + 5_000_000) == DeadlinePassed()
            handled = threading.Event()
            before = signal.signal(signal.SIGUSR1, lambda *_, handled=handled: (handled.set(), g.cpu.kick()))
            try:
                # To the process: the kernel may give it to any thread, so that only slices bring it to this one.
                helper = Thread(target=lambda: (time.sleep(0.03), signal.raise_signal(signal.SIGUSR1)))
                helper.start()
                assert g.cpu.run() == Kicked()
                assert handled.is_set()
                helper.join()
            finally:
                signal.signal(signal.SIGUSR1, before)


def test_deadlines_are_met_whatever_was_set_before(kvm: str) -> None:
    """One alarm serves runs to the same deadline; a nearer one, a farther one and none are other alarms."""
    with guest(kvm, "e670 ebfc") as g:  # out 0x70, al; jmp back
        clock = g.vm.clock
        end = clock.now_ns + 60_000_000
        exits = 0
        while g.cpu.run(deadline_ns=end) == PortOut(0x70, 1, 0):
            exits += 1
        assert clock.now_ns >= end
        assert exits > 100
        g.vm.write(CODE, bytes.fromhex(FOREVER))
        for after in (10_000_000_000, 5_000_000, 30_000_000, 1_000_000):
            end = clock.now_ns + after
            if after == 10_000_000_000:
                with kicked_soon(g.cpu):
                    assert g.cpu.run(deadline_ns=end) == Kicked()
            else:
                assert g.cpu.run(deadline_ns=end) == DeadlinePassed()
                assert 0 <= clock.now_ns - end < 2_000_000_000


def test_a_handler_runs_within_a_run_to_a_far_deadline(kvm: str) -> None:
    with guest(kvm, FOREVER) as g:
        before = signal.signal(signal.SIGUSR1, lambda *_: g.cpu.kick())
        try:
            helper = Thread(target=lambda: (time.sleep(0.03), signal.raise_signal(signal.SIGUSR1)))
            helper.start()
            assert g.cpu.run(deadline_ns=g.vm.clock.now_ns + 60_000_000_000) == Kicked()
            helper.join()
        finally:
            signal.signal(signal.SIGUSR1, before)


def test_a_second_thread_gets_busy_and_the_first_runs_on(kvm: str) -> None:
    with guest(kvm, "e670 ebfc") as g:  # out 0x70, al; jmp back
        assert g.cpu.run() == PortOut(0x70, 1, 0)
    with guest(kvm, FOREVER) as g:
        runner = Thread(target=g.cpu.run)
        runner.start()
        while not g.cpu.running:
            time.sleep(0.001)
        with pytest.raises(Busy):
            g.cpu.run()
        assert g.cpu.running
        g.cpu.kick()
        runner.join(10)
        assert not g.cpu.running


def test_a_thread_that_has_ended_gets_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[timer.Thread] = []
    thread = Thread(target=lambda: seen.append(timer.HERE.thread))
    thread.start()
    thread.join()
    monkeypatch.setattr(signal, "pthread_kill", lambda *_: pytest.fail("signalled"))
    seen[0].signal()


def test_many_vcpus_on_one_thread(kvm: str) -> None:
    with VirtualMachine(kvm) as vm:
        vm.map(at=0, size=0x1000)[:2] = bytes.fromhex(FOREVER)
        cpus = [vm.vcpu() for _ in range(8)]
        for cpu in cpus * 2:
            assert cpu.run(deadline_ns=vm.clock.now_ns + 2_000_000) == DeadlinePassed()
