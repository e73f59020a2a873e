"""Several processors: interprocessor interrupts, start-up, waking. Intel SDM vol. 3, "Issuing Interprocessor
Interrupts", "Multiple-Processor (MP) Initialization".
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from pyhv import Halted, Kicked, VirtualMachine

from .machine import BASE, DFR, ESR, ICR, ICR_HIGH, IRR, LDR, MS, Machine, fill

WAIT = "wait: sti; hlt; jmp wait"
LOGICAL, ASSERT, LEVEL = 1 << 11, 1 << 14, 1 << 15
ALL, OTHERS = 2 << 18, 3 << 18
NMI, INIT, START_UP, LOWEST = 4 << 8, 5 << 8, 6 << 8, 1 << 8
CLUSTER = 0x0FFF_FFFF


def send(command: int, destination: int = 0) -> str:
    return f"mov dword ptr [edi+{ICR_HIGH}], {destination << 24}; mov dword ptr [edi+{ICR}], {command};"


@pytest.mark.parametrize(
    ("command", "destination", "first", "second"),
    [
        (0x41, 1, [], [0x41]),
        (0x41, 0, [0x41], []),
        (0x41, 0xFF, [0x41], [0x41]),
        (LOGICAL | 0x41, 2, [], [0x41]),
        (LOGICAL | 0x41, 3, [0x41], [0x41]),
        (LOGICAL | 0x41, 4, [], []),
        (ALL | 0x41, 0, [0x41], [0x41]),
        (OTHERS | 0x41, 0, [], [0x41]),
        (OTHERS | NMI, 0, [], [2]),
        (NMI, 1, [], [2]),
        (LOWEST | LOGICAL | 0x41, 3, [0x41], []),
        (3 << 8 | 0x41, 1, [], []),
        (7 << 8 | 0x41, 1, [], []),
        (0x0F, 1, [0x39], []),
    ],
)
def test_commands(two: Machine, command: int, destination: int, first: list[int], second: list[int]) -> None:
    two.write(0x370, 0x39, 0)
    two.code(WAIT, 1)
    two.code(send(command, destination) + WAIT, 0)
    two.idle(n=0)
    two.idle(n=1)
    assert (two.log(0), two.log(1)) == (first, second)


def test_cluster_model(two: Machine) -> None:
    for n, logical in enumerate((0x11, 0x22)):
        two.write(DFR, CLUSTER, n)
        two.write(LDR, logical << 24, n)
        two.code(WAIT, n)
    two.code(
        "".join(send(LOGICAL | vector, to) for vector, to in ((0x41, 0x13), (0x42, 0x22), (0x43, 0xF3), (0x44, 0x12)))
        + WAIT
    )
    two.idle(n=0)
    two.idle(n=1)
    assert (sorted(two.log(0)), sorted(two.log(1))) == ([0x41, 0x43], [0x42, 0x43])


def test_x2apic_destinations(two: Machine) -> None:
    for n in range(2):
        two.cpus[n].msrs[BASE] = 0xFEE0_0C00 | (n == 0) << 8
    sends = (
        (0x41, 1),
        (LOGICAL | 0x42, 2),
        (LOGICAL | 0x43, 0x1_0002),
        (0x44, 0xFFFF_FFFF),
        (0x45, 0xFF),
        (LOGICAL | 0x46, 3),
    )
    text = "".join(f"mov ecx, 0x830; mov eax, {command}; mov edx, {to}; wrmsr;" for command, to in sends)
    two.code(text + "hlt")
    two.to_halt()
    found = [[vector for vector in range(0x40, 0x48) if two.read(IRR + 0x20, n) >> vector % 32 & 1] for n in range(2)]
    assert found == [[0x44, 0x46], [0x41, 0x42, 0x44, 0x46]]


def test_an_interrupt_wakes_another_thread(two: Machine) -> None:
    two.code(WAIT, 1)
    second = two.in_thread(1)
    time.sleep(0.02)
    two.code(send(0x41, 1) + "wait: pause; mov eax, [0x61000]; test eax, eax; jz wait; hlt")
    began = two.vm.clock.now_ns
    two.to_halt(0)
    assert two.vm.clock.now_ns - began < 1000 * MS
    assert second.stop() == Kicked()
    assert two.log(1) == [0x41]


def test_ping_pong(two: Machine) -> None:
    """Two processors interrupt each other 2000 times, each out of HLT: no interrupt is lost."""
    rounds = 2000
    for n in range(2):
        two.vector(
            0x41,
            f"push eax; inc dword ptr [{0x500 + 4 * n}]; mov dword ptr [0xfee00000+{ICR_HIGH}], {(1 - n) << 24};"
            f"mov dword ptr [0xfee00000+{ICR}], 0x41; mov dword ptr [0xfee000b0], 0; pop eax; iretd",
            n,
        )
    two.code("sti; wait: hlt; jmp wait", 1)
    two.code(
        send(0x41, 1) + f"wait: cli; cmp dword ptr [0x500], {rounds}; jae done; sti; hlt; jmp wait; done: cli; hlt"
    )
    second = two.in_thread(1, 60_000)
    assert two.run(60_000) == Halted()
    second.stop()
    counts = [int.from_bytes(two.ram[0x500 + 4 * n : 0x504 + 4 * n], "little") for n in range(2)]
    assert counts[0] >= rounds  # more where the next one comes between IRETD and CLI, again and again
    assert counts[1] - counts[0] in (0, 1), "an interrupt was lost"


@pytest.fixture
def fresh(assemble: Callable[[str, int, int], bytes]) -> Machine:
    vm = VirtualMachine("soft", apic=True)
    made = Machine(vm, vm.map(at=0, size=1 << 20), assemble)
    fill(made)
    return made


def test_start_up(fresh: Machine) -> None:
    """INIT, start-up, start-up: the second vCPU, whose thread waits in run(), begins at the page of the message."""
    with fresh.vm:
        fresh.add()
        fresh.cpus.append(fresh.vm.vcpu())
        fresh.put(0x8000, fresh.assemble("mov ax, cs; mov [0x500], ax; inc word ptr [0x502]; cli; hlt", 0, 16))
        second = fresh.in_thread(1)
        before = time.process_time()
        time.sleep(0.2)
        assert time.process_time() - before < 0.02, "it costs nothing to wait"
        assert second.exit is None
        fresh.code(
            send(INIT | ASSERT | LEVEL, 1) + send(INIT | LEVEL, 1) + send(START_UP | 8, 1) + send(START_UP | 8, 1)
            + "wait: pause; cmp word ptr [0x502], 0; je wait; hlt"
        )  # fmt: skip
        fresh.to_halt(0)
        assert second.join() == Halted()
        assert bytes(fresh.ram[0x500:0x504]) == b"\x00\x08\x01\x00"
        assert fresh.cpus[1].segments.cs.base == 0x8000
        assert fresh.read(0xF0, 1) == 0xFF


def test_init_ends_whatever_it_does(two: Machine) -> None:
    """A running processor, its APIC in use, is reset and starts again at another place."""
    two.cpus[1].msrs[BASE] = 0xFEE0_0800
    two.put(0x9000, two.assemble("mov word ptr [0x500], 0x77; cli; hlt", 0, 16))
    two.write(LDR, 0x5000_0000, 1)
    two.code("spin: jmp spin", 1)
    second = two.in_thread(1)
    time.sleep(0.02)
    two.code(send(INIT | ASSERT, 1) + send(START_UP | 9, 1) + "hlt")
    two.to_halt(0)
    assert second.join() == Halted()
    assert two.ram[0x500] == 0x77
    assert (two.read(LDR, 1), two.read(ESR, 1)) == (0, 0)


def test_a_start_up_message_without_init_is_ignored(two: Machine) -> None:
    two.code("mov ebx, 1; hlt", 1)
    two.code(send(START_UP | 9, 1) + "hlt")
    two.to_halt(0)
    two.to_halt(1)
    assert two.cpus[1].regs.rbx == 1


def test_time_stamps_are_in_step(two: Machine) -> None:
    """Each reads the time stamp behind the other's turn: never an earlier one."""
    text = (
        "mov ebp, {mine}; mov ecx, 3000;"
        "turn: pause; cmp [0x500], ebp; jne turn; rdtsc; cmp edx, [0x514]; jb bad; ja good; cmp eax, [0x510]; jb bad;"
        "good: mov [0x510], eax; mov [0x514], edx; xor dword ptr [0x500], 1; dec ecx; jnz turn; hlt; bad: ud2"
    )
    two.code(text.format(mine=1), 1)
    two.code(text.format(mine=0), 0)
    second = two.in_thread(1, 60_000)
    assert two.run(60_000) == Halted()
    assert second.join() == Halted()


def test_a_vcpu_that_is_gone_is_not_addressed(two: Machine) -> None:
    two.cpus[1].close()
    two.code(send(0x41, 1) + "mov eax, 11; mov ecx, 1; cpuid; hlt")
    two.to_halt(0)
    assert two.cpus[0].regs.rbx == 1
    again = two.vm.vcpu()
    assert again.index == 1
    two.vm.interrupts.send_msi(0xFEE0_1000, NMI)
