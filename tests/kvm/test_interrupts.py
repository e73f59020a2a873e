"""Interrupt controllers on KVM, where it differs from the software CPU behind the same tests (tests/interrupts)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.interrupts.conftest import make
from tests.interrupts.machine import BASE, HANDLERS, ICR, INITIAL, PERIODIC, TIMER, TPR, X2APIC, Machine

from pyhv import CpuState, Exit, Halted, Kicked, MonitorTrap, PortOut, Watchpoint

SELF = 0x4_4000
NMI_TO_0 = (0xFEE0_0000, 0x400)


@pytest.fixture
def machine(assemble: Callable[[str, int, int], bytes], kvm: str) -> Iterator[Machine]:
    with make(assemble, 1, 0, kvm) as made:
        yield made


def test_a_step_delivers_what_waits_and_does_one_instruction(machine: Machine) -> None:
    machine.code(f"mov dword ptr [edi+{ICR}], {SELF | 0x40}; sti; nop; nop; cli; hlt")
    rips = []
    for _ in range(6):
        assert machine.cpus[0].step() == MonitorTrap()
        rips.append(machine.cpus[0].regs.rip)
    # behind STI's shadow it is the handler's first instruction that is stepped: PUSH EAX
    assert HANDLERS + 32 * 0x40 + 1 in rips
    machine.to_halt()
    assert machine.log() == [0x40]


def test_a_step_over_a_register_of_the_apic_is_one(machine: Machine) -> None:
    machine.code(f"mov dword ptr [edi+{TPR}], 0x20; mov eax, [edi+{TPR}]; out 0x21, al; in al, 0x21; nop; hlt")
    cpu = machine.cpus[0]
    lengths = []
    for _ in range(7):
        before = cpu.regs.rip
        assert cpu.step() == MonitorTrap()
        lengths.append(cpu.regs.rip - before)
    assert lengths == [5, 5, 10, 6, 2, 2, 1]
    assert cpu.regs.rax & 0xFF == 0x20


def test_a_budget_counts_over_an_interrupt(machine: Machine) -> None:
    machine.code(f"mov dword ptr [edi+{ICR}], {SELF | 0x40}; sti; nop; nop; cli; hlt")
    assert type(machine.cpus[0].run(budget=6)).__name__ == "BudgetSpent"
    machine.to_halt()
    assert machine.log() == [0x40]


def test_watchpoints_with_interrupts(machine: Machine) -> None:
    machine.code(f"mov dword ptr [edi+{ICR}], {SELF | 0x40}; sti; nop; nop; mov dword ptr [0x8000], 7; cli; hlt")
    machine.cpus[0].breakpoints.add(0x8000, 4, "write")
    assert isinstance(machine.run(), Watchpoint)
    assert machine.log() == [0x40]
    machine.to_halt()


def test_an_nmi_ends_halt_and_is_masked_in_its_handler(machine: Machine) -> None:
    machine.vector(2, "inc dword ptr [0x8000]; iretd")
    machine.code("cli; hlt; hlt")
    machine.to_halt()
    machine.vm.interrupts.send_msi(*NMI_TO_0)
    machine.to_halt()
    assert machine.ram[0x8000] == 1


def test_x2apic_and_its_refusals(machine: Machine) -> None:
    """The MSRs leave KVM: those that the APIC has are answered, others are #GP."""
    machine.vector(13, "mov ebp, 0x13; add esp, 4; add dword ptr [esp], 2; iretd")
    machine.code(
        f"mov ecx, {BASE}; rdmsr; or eax, 0xc00; wrmsr; mov ecx, {X2APIC + 2}; rdmsr; mov ebx, eax;"
        f"mov ecx, {X2APIC + 8}; mov eax, 0x30; xor edx, edx; wrmsr; mov ecx, {X2APIC + 0x0E}; rdmsr; hlt"
    )
    machine.to_halt()
    cpu = machine.cpus[0]
    assert (cpu.regs.rbx, cpu.regs.rbp) == (0, 0x13)
    assert (cpu.regs.tpr, cpu.state["tpr"]) == (0x30, 0x30)


@pytest.mark.parametrize(("source", "target"), [("soft", "kvm"), ("kvm", "soft")])
def test_a_state_moves_with_its_apic(
    assemble: Callable[[str, int, int], bytes], kvm: str, source: str, target: str
) -> None:
    """A periodic timer goes on in the other engine, and what was in service is."""
    text = (
        f"mov dword ptr [edi+{TIMER}], {PERIODIC | 0x55}; mov dword ptr [edi+{INITIAL}], 50000;"
        "sti; again: hlt; jmp again"
    )
    with make(assemble, 1, 0, source) as one, make(assemble, 1, 0, target) as other:
        one.code(text)
        one.run(100)
        assert one.log()
        kept = CpuState.from_bytes(one.cpus[0].state.to_bytes())
        other.put(0, bytes(one.ram))
        other.cpus[0].state = kept
        assert other.read(TIMER) == PERIODIC | 0x55
        before = len(other.log())
        ended = other.run(100)
        assert len(other.log()) > before, ended
        assert set(other.log()) == {0x55}


def test_a_kick_reaches_one_that_waits_and_one_that_computes(machine: Machine) -> None:
    machine.code("sti; hlt; hlt")
    waiting = machine.in_thread(0)
    assert waiting.stop() == Kicked()
    machine.code("again: jmp again")
    computing = machine.in_thread(0)
    assert computing.stop() == Kicked()


def test_other_ports_and_pages_are_the_programs(machine: Machine) -> None:
    machine.code("mov al, 5; out 0x22, al; mov dword ptr [0xfee01000], 1; cli; hlt")
    assert machine.run() == PortOut(0x22, 1, 5)
    assert type(machine.run()).__name__ == "MmioStore"
    assert machine.run() == Halted()


def test_two_that_wait_for_each_other_lose_no_message(assemble: Callable[[str, int, int], bytes], kvm: str) -> None:
    """Each sleeps in HLT until the other's message: one that is lost stops both."""
    rounds = 200
    with make(assemble, 2, 0, kvm) as two:
        two.vector(
            0x50, f"mov dword ptr [edi+0xb0], 0; mov dword ptr [edi+{ICR}], 0x4051; iretd", 1
        )  # EOI; to vCPU 0, whose number is in ICR_HIGH
        two.vector(0x51, "inc ecx; mov dword ptr [edi+0xb0], 0; iretd", 0)
        two.code("again: sti; hlt; jmp again", 1)
        two.code(
            f"xor ecx, ecx; xor ebx, ebx; mov dword ptr [edi+{ICR + 0x10}], 0x1000000; next: inc ebx;"
            f"mov dword ptr [edi+{ICR}], 0x4050; wait: cli; cmp ecx, ebx; je done; sti; hlt; jmp wait;"
            f"done: sti; cmp ebx, {rounds}; jb next; cli; hlt",
            0,
        )
        other = two.in_thread(1, 60_000)
        assert two.run(30_000, 0) == Halted(), (two.cpus[0].regs.rcx, two.cpus[0].regs.rbx)
        assert two.cpus[0].regs.rcx == rounds
        assert other.stop() == Kicked()


def test_a_message_reaches_one_that_computes(machine: Machine) -> None:
    """Without a deadline or a timer nothing but the message's own signal ends KVM_RUN."""
    cpu = machine.cpus[0]
    machine.code("sti; again: jmp again")
    ended: list[Exit] = []
    thread = threading.Thread(target=lambda: ended.append(cpu.run()), daemon=True)
    thread.start()
    for vector in (0x41, 0x42, 0x43):
        time.sleep(0.02)
        machine.vm.interrupts.send_msi(0xFEE0_0000, vector)
    end = time.monotonic() + 10
    while len(machine.log()) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    served = machine.log()
    cpu.kick()
    thread.join(10)
    assert (served, ended) == ([0x41, 0x42, 0x43], [Kicked()])
