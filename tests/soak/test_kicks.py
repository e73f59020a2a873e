"""A storm of kicks: none is lost, whenever it comes, and none comes twice."""

from __future__ import annotations

import random
import threading
import time

import pytest

from pyhv import Kicked, VCpu

from .storms import SPIN, Threads, machine


class Postman:
    """Kicks one vCPU and waits until its thread has seen it, at a random moment of that thread's round."""

    def __init__(self, cpu: VCpu, kicks: int, seed: int) -> None:
        self.cpu, self.kicks, self.choice = cpu, kicks, random.Random(seed)
        self.sent = self.seen = 0
        self.arrived = threading.Semaphore(0)

    def send(self) -> None:
        for number in range(self.kicks):
            for _ in range(self.choice.randrange(300)):
                pass  # somewhere between "just before run()" and "deep in the guest"
            self.sent = number + 1
            self.cpu.kick()
            assert self.arrived.acquire(timeout=30), f"kick {number} was lost"

    def receive(self) -> None:
        choice = random.Random(self.kicks)
        while self.seen < self.kicks:
            assert self.cpu.run() == Kicked()
            self.seen += 1
            assert self.seen <= self.sent, "a kick came twice"
            self.arrived.release()
            if choice.random() < 0.01:
                time.sleep(0)


def storm(kicks: int, seed: int, program: bytes = SPIN, vcpus: int = 2) -> None:
    with machine(program, vcpus) as (_, cpus):
        threads = Threads()
        postmen = [Postman(cpu, kicks // vcpus, seed + number) for number, cpu in enumerate(cpus)]
        for postman in postmen:
            threads.start(postman.receive)
            threads.start(postman.send)
        threads.join()
        assert sum(postman.seen for postman in postmen) == kicks


def test_2_000_kicks() -> None:
    storm(2_000, seed=1)


@pytest.mark.slow
def test_100_000_kicks() -> None:
    storm(100_000, seed=2)


def test_many_kicks_before_a_run_are_one() -> None:
    with machine(SPIN, 1) as (_, (cpu,)):
        for count in (1, 2, 50):
            for _ in range(count):
                cpu.kick()
            assert cpu.run() == Kicked()
            assert cpu.run(budget=100) != Kicked()
