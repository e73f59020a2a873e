"""The local APIC's timer and time that passes in HLT. Intel SDM vol. 3, "APIC Timer", "TSC-Deadline Mode"."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from pyhv import BudgetSpent, CpuState, DeadlinePassed

from .conftest import make
from .machine import (
    BASE,
    CURRENT,
    DEADLINE,
    DIVIDE,
    INITIAL,
    IRR,
    MASKED,
    MS,
    PERIODIC,
    TIMER,
    TSC_DEADLINE,
    Machine,
)

WAIT = "wait: sti; hlt; jmp wait"
BY_1, BY_16 = 0xB, 3
TICKS_PER_MS = 25_000


def count(mode: int, ticks: int, divide: int = BY_1) -> str:
    return (
        f"mov dword ptr [edi+{TIMER}], {mode | 0x40}; mov dword ptr [edi+{DIVIDE}], {divide};"
        f"mov dword ptr [edi+{INITIAL}], {ticks};"
    )


@pytest.mark.parametrize(("divide", "by"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)])
def test_one_shot(counted: Machine, divide: int, by: int) -> None:
    counted.code(count(0, 4 * TICKS_PER_MS // by, divide) + WAIT)
    counted.idle(3.9)
    assert counted.log() == []
    counted.idle(10)
    assert counted.log() == [0x40]
    assert counted.read(CURRENT) == 0


def test_periodic(counted: Machine) -> None:
    counted.code(count(PERIODIC, TICKS_PER_MS) + WAIT)
    counted.idle(10.5)
    assert len(counted.log()) == 10
    counted.write(INITIAL, 0)
    counted.idle(10)
    assert len(counted.log()) == 10, "a count of 0 stops it"


def test_periods_that_were_missed_are_one(counted: Machine) -> None:
    counted.code(count(PERIODIC, TICKS_PER_MS) + f"mov ecx, {20 * MS // 2}; spin: dec ecx; jnz spin;" + WAIT)
    counted.idle(20.5)
    assert len(counted.log()) in (1, 2)


def test_masked_it_counts_but_does_not_interrupt(counted: Machine) -> None:
    counted.code(count(MASKED, TICKS_PER_MS) + WAIT)
    counted.idle(0.5)
    assert 0 < counted.read(CURRENT) < TICKS_PER_MS
    counted.idle(2)
    assert (counted.read(CURRENT), counted.log()) == (0, [])


def test_the_count_goes_on_with_another_divider(counted: Machine) -> None:
    counted.code(count(0, 4 * TICKS_PER_MS) + WAIT)
    counted.idle(2)
    left = counted.read(CURRENT)
    assert left == pytest.approx(2 * TICKS_PER_MS, rel=0.02)
    counted.write(DIVIDE, BY_16)
    assert counted.read(CURRENT) == pytest.approx(left, abs=2)
    counted.idle(30)
    assert counted.log() == []
    counted.idle(4)
    assert counted.log() == [0x40]


def tsc_deadline(ns: int) -> str:
    arm = f"mov dword ptr [edi+{TIMER}], {DEADLINE | 0x40};"
    return arm + f"rdtsc; add eax, {ns}; adc edx, 0; mov ecx, {TSC_DEADLINE}; wrmsr;"


def test_tsc_deadline(counted: Machine) -> None:
    counted.code(tsc_deadline(5 * MS) + WAIT)
    counted.idle(4.9)
    assert counted.log() == []
    assert counted.cpus[0].engine.read_msr(TSC_DEADLINE) != 0
    counted.idle(0.2)
    assert counted.log() == [0x40]
    assert counted.cpus[0].engine.read_msr(TSC_DEADLINE) == 0, "used up"


def test_a_deadline_that_has_passed_interrupts_at_once(counted: Machine) -> None:
    counted.code(tsc_deadline(0) + WAIT)
    counted.idle(0.1)
    assert counted.log() == [0x40]


def test_outside_deadline_mode_the_msr_is_without_effect(counted: Machine) -> None:
    counted.code(tsc_deadline(MS).replace(str(DEADLINE | 0x40), str(0x40)) + "rdmsr; mov ebx, eax; or ebx, edx;" + WAIT)
    counted.idle(10)
    assert (counted.log(), counted.cpus[0].regs.rbx) == ([], 0)


def test_a_change_between_count_and_deadline_disarms(counted: Machine) -> None:
    counted.code(count(0, TICKS_PER_MS) + f"mov dword ptr [edi+{TIMER}], {DEADLINE | 0x40};" + WAIT)
    counted.idle(5)
    assert counted.log() == []
    counted.code(tsc_deadline(MS) + f"mov dword ptr [edi+{TIMER}], 0x40;" + WAIT)
    counted.idle(5)
    assert counted.log() == []


def test_what_waits_survives_a_saved_state(counted: Machine) -> None:
    counted.code(count(PERIODIC, 4 * TICKS_PER_MS) + WAIT)
    counted.idle(1)
    kept = counted.cpus[0].state
    counted.cpus[0].reset()
    counted.cpus[0].state = kept
    counted.idle(2.9)
    assert counted.log() == []
    counted.idle(0.2)
    assert counted.log() == [0x40]


def test_a_running_guest_is_interrupted(machine: Machine) -> None:
    machine.code(count(PERIODIC, TICKS_PER_MS) + "sti; spin: jmp spin")
    ran_ms = 0.0
    while len(machine.log()) < 10 and ran_ms < 5000:  # a busy host may give the guest little of its time
        assert machine.run(100 * machine.patience) == DeadlinePassed()
        ran_ms += 100 * machine.patience
    assert 10 <= len(machine.log()) <= ran_ms


def test_counted_time_repeats_exactly(assemble: Callable[[str, int, int], bytes]) -> None:
    """A guest that computes, waits and is interrupted ends in the same state, with the same time, also when it is
    kicked in between.
    """
    code = (
        count(PERIODIC, TICKS_PER_MS // 7) + "xor ebx, ebx;"
        "again: mov ecx, 33333; spin: add ebx, ecx; ror ebx, 3; dec ecx; jnz spin; sti; hlt; cli; jmp again"
    )

    def once(kicks: bool) -> tuple[CpuState, bytes, int]:
        with make(assemble, 1, 0.37) as made:
            made.code(code)
            cpu, over = made.cpus[0], threading.Event()

            def kick() -> None:
                while not over.wait(0.001):
                    cpu.kick()

            thread = threading.Thread(target=kick)
            if kicks:
                thread.start()
            left = 5_000_000
            while left:
                before = cpu.instructions
                exit = cpu.run(budget=left)
                left -= cpu.instructions - before
                assert kicks or exit == BudgetSpent()
            over.set()
            if kicks:
                thread.join()
            return cpu.state, bytes(made.ram[:]), made.vm.clock.now_ns

    first = once(False)
    assert first == once(False)
    assert first == once(True)


def test_a_deadline_comes_out_of_halt(machine: Machine) -> None:
    machine.code(WAIT)
    began = machine.vm.clock.now_ns
    machine.idle(30)
    assert 30 * MS <= machine.vm.clock.now_ns - began < 1000 * MS


def test_halt_costs_nothing(machine: Machine) -> None:
    """In HLT with a 100 Hz timer: under 3 % of a core, on the main thread and in another; a KVM that emulates more."""
    machine.code(count(PERIODIC, 10 * TICKS_PER_MS) + WAIT)
    assert machine.run(5) == DeadlinePassed()
    before = time.thread_time()
    assert machine.run(500) == DeadlinePassed()
    assert time.thread_time() - before < 0.015 * machine.patience
    used: list[float] = []

    def run() -> None:
        assert machine.run(500) == DeadlinePassed()
        used.append(time.thread_time())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert used[0] < 0.015 * machine.patience
    assert len(machine.log()) > 50
    assert machine.cpus[0].idle_time_ns > 900 * MS


@pytest.mark.parametrize("mode", [0, PERIODIC])
def test_a_timer_that_is_due_is_not_lost_with_a_saved_state(machine: Machine, mode: int) -> None:
    """Between the end of its count and the next run nobody has looked at it."""
    cpu = machine.cpus[0]
    machine.code(count(mode, 30 * TICKS_PER_MS) + "hlt")
    machine.to_halt()
    time.sleep(0.04)
    kept = cpu.state
    machine.write(INITIAL, 0)
    cpu.state = kept
    machine.code(WAIT)
    machine.run(50)
    assert machine.log()


def test_a_kick_ends_halt(machine: Machine) -> None:
    machine.code(WAIT)
    running = machine.in_thread(0)
    time.sleep(0.02)
    began = time.monotonic()
    assert type(running.stop()).__name__ == "Kicked"
    assert time.monotonic() - began < 1


def test_two_that_wait_pass_counted_time(assemble: Callable[[str, int, int], bytes]) -> None:
    """A second of two waiting processors with timers takes less than that."""
    with make(assemble, 2, 1) as made:
        made.code(count(PERIODIC, 100 * TICKS_PER_MS) + WAIT, 0)
        made.code(count(PERIODIC, 150 * TICKS_PER_MS) + WAIT, 1)
        began = time.monotonic()
        second = made.in_thread(1, 1000)
        assert made.run(1000) == DeadlinePassed()
        assert second.join() == DeadlinePassed()
        assert 0 < len(made.log(0)) <= 10  # while only one runs, time goes by its moments alone
        assert len(made.log(1)) <= 6
        assert time.monotonic() - began < 10


def test_the_base_msr_is_part_of_the_state(machine: Machine) -> None:
    machine.cpus[0].msrs[BASE] = 0xFEE0_0D00
    kept = machine.cpus[0].state
    machine.cpus[0].reset()
    assert machine.cpus[0].msrs[BASE] == 0xFEE0_0900
    machine.cpus[0].state = kept
    assert machine.cpus[0].state == kept
    assert machine.read(IRR) == 0
