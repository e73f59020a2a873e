"""Breakpoints and watchpoints on KVM: the processor's own, and those for which the twin runs the guest."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pyhv import (
    Breakpoint,
    BudgetSpent,
    Halted,
    InterruptWindow,
    Kicked,
    MonitorTrap,
    MsrRead,
    PortIn,
    PortOut,
    VirtualMachine,
    Watchpoint,
)
from pyhv.addresses import GVA
from pyhv.errors import Closed
from pyhv.testing.guest import CODE, Guest, guest, thread, waiting

DATA = 0x3000
# mov cx,300 · mov bx,0x3000 · next: add al,cl · rol al,1 · mov [bx],al · inc bx · loop next · hlt
FILL = "b92c01 bb0030 00c8 d0c0 8807 43 e2f7 f4"


def engine_of(g: Guest) -> Any:
    return g.cpu.engine


def test_four_breakpoints_are_the_processor_s_own(kvm: str) -> None:
    with guest(kvm, "40 40 40 ebfb") as g:
        engine_of(g).vm.is_trusted = True
        g.cpu.breakpoints.add(CODE + 1)
        g.cpu.breakpoints.add(CODE + 2)
        assert not engine_of(g)._alone
        for at, ax in ((1, 1), (2, 2), (1, 4), (2, 5)):
            assert g.cpu.run() == Breakpoint(GVA(CODE + at))
            assert (g.cpu.regs.rip, g.cpu.regs.ax) == (CODE + at, ax)
        assert g.cpu.run(budget=2) == BudgetSpent()
        assert g.cpu.step() == MonitorTrap()
        assert g.cpu.run(budget=5) == Breakpoint(GVA(CODE + 1))
        g.cpu.regs.rip = CODE + 1
        assert g.cpu.run() == Breakpoint(GVA(CODE + 1))
        assert g.cpu.run() == Breakpoint(GVA(CODE + 2))
        for n in range(2):
            g.cpu.breakpoints.add(DATA + n)
        assert not engine_of(g)._alone
        fifth = g.cpu.breakpoints.add(DATA + 2)
        assert engine_of(g)._alone
        assert g.cpu.run() == Breakpoint(GVA(CODE + 1))  # told by KVM at the other, gone on in the twin
        g.cpu.breakpoints.remove(fifth)
        assert not engine_of(g)._alone
        assert g.cpu.run() == Breakpoint(GVA(CODE + 2))


def test_watched_for_a_while_a_program_ends_the_same(kvm: str) -> None:
    ends = []
    for engine, watched in (("soft", False), (kvm, False), (kvm, True)):
        with guest(engine, FILL) as g:
            g.cpu.segments.ds.load_real(0)
            if watched:
                assert g.cpu.run(budget=100) == BudgetSpent()
                point = g.cpu.breakpoints.add(DATA + 100, 8, "write")
                for n in range(8):
                    assert g.cpu.run() == Watchpoint(GVA(DATA + 100 + n), 1, True)
                g.cpu.breakpoints.remove(point)
                assert not engine_of(g)._alone
            assert g.cpu.run() == Halted()
            ends.append((g.cpu.state, bytes(g.ram)))
    for state, ram in ends[1:]:
        assert state.diff(ends[0][0]) == []
        assert ram == ends[0][1]


def test_what_kvm_has_begun_kvm_ends(kvm: str) -> None:
    with guest(kvm, "e461 a20030 90 f4") as g:  # in al, 0x61; mov [0x3000], al
        g.cpu.segments.ds.load_real(0)
        assert g.cpu.run() == PortIn(0x61, 1, 1)
        g.cpu.breakpoints.add(DATA, access="write")
        g.cpu.answer(0x77)
        assert g.cpu.run() == Watchpoint(GVA(DATA), 1, True)
        assert g.ram[DATA] == 0x77


def test_what_the_twin_has_begun_the_twin_ends(kvm: str) -> None:
    with guest(kvm, "e461 a20030 90 f4") as g:
        g.cpu.segments.ds.load_real(0)
        g.cpu.breakpoints.add(DATA, access="write")
        assert g.cpu.run() == PortIn(0x61, 1, 1)
        g.cpu.breakpoints.clear()
        g.cpu.answer(0x77)
        assert g.cpu.run() == Halted()
        assert g.ram[DATA] == 0x77


def test_an_msr_that_only_kvm_has_is_there_while_watched(kvm: str) -> None:
    read = "66b979010000 0f32 f4"  # mov ecx, IA32_MCG_CAP; rdmsr
    found = []
    for watched in (False, True):
        with guest(kvm, read) as g:
            if watched:
                g.cpu.breakpoints.add(DATA, access="write")
            assert g.cpu.run() == Halted()
            found.append((g.cpu.regs.rax, g.cpu.regs.rdx))
    assert found[0] == found[1] != (0, 0)


def test_a_chosen_msr_leaves_while_watched(kvm: str) -> None:
    with guest(kvm, "66b9820000c0 0f32 f4", msr_exits=[0xC000_0082]) as g:
        g.cpu.breakpoints.add(DATA, access="write")
        assert g.cpu.run() == MsrRead(0xC000_0082)
        g.cpu.refuse()
        g.cpu.regs.rip = CODE
        assert g.cpu.run() == MsrRead(0xC000_0082)
        g.cpu.answer(9)
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rax == 9


def test_time_goes_on_when_the_twin_takes_over(kvm: str) -> None:
    with guest(kvm, "0f31 f4 ebfb") as g:  # rdtsc; hlt; jmp
        seen = []
        for n in range(6):
            if n % 2:
                g.cpu.breakpoints.add(DATA, access="write")
            assert g.cpu.run() == Halted()
            seen.append(g.cpu.regs.edx << 32 | g.cpu.regs.eax)
            g.cpu.breakpoints.clear()
        assert seen == sorted(seen)
        assert seen[-1] - seen[0] < 10 * g.vm.clock.tsc_hz


def test_every_kick_counts_once(kvm: str) -> None:
    with guest(kvm, "ebfe") as g:
        for n in range(40):
            if n % 3 == 0:
                g.cpu.breakpoints.add(DATA, access="write")
            elif n % 3 == 2:
                g.cpu.breakpoints.clear()
            if n % 2:
                g.cpu.kick()
                assert g.cpu.run() == Kicked()
            else:
                with thread(g.cpu.run) as results:
                    time.sleep(0.001)
                    g.cpu.kick()
                    waiting(lambda results=results: bool(results))  # type: ignore[misc]
                assert results == [Kicked()]
            moment = g.vm.clock.now_ns + 1_000_000
            assert type(g.cpu.run(deadline_ns=moment)).__name__ == "DeadlinePassed"
            assert g.cpu.step() == MonitorTrap()


def test_a_watched_vcpu_sees_code_that_another_writes(kvm: str) -> None:
    with guest(kvm, "b80000 ebfe") as g, g.vm.vcpu() as writer:  # the jump becomes a HLT
        g.ram[0x1800:0x1806] = bytes.fromhex("c6060310f4f4")  # mov byte [0x1003], 0xf4; hlt
        writer.regs.rip = 0x1800
        g.cpu.breakpoints.add(DATA, access="write")
        with thread(g.cpu.run) as results:
            time.sleep(0.01)
            assert writer.run() == Halted()
            waiting(lambda: bool(results))
        assert results == [Halted()]


def test_closing_reaches_a_watched_run(kvm: str) -> None:
    vm = VirtualMachine(kvm)
    ram = vm.map(at=0, size=0x2000)
    ram[0:2] = bytes.fromhex("ebfe")
    cpu = vm.vcpu()
    cpu.breakpoints.add(DATA, access="write")
    with thread(cpu.run) as results:
        time.sleep(0.01)
        vm.close()
        waiting(lambda: bool(results))
    assert results == [Kicked()]
    with pytest.raises(Closed):
        cpu.run()


def test_the_interrupt_window_of_kvm_itself(kvm: str) -> None:
    """Where it is trusted; one that is emulated may look for it late."""
    with guest(kvm, "90 fb 90 90 e680 f4") as g:
        engine_of(g).vm.is_trusted = True
        g.cpu.controls.interrupt_window = True
        assert not engine_of(g)._alone
        assert g.cpu.run() in (InterruptWindow(), PortOut(0x80, 1, 0))
        g.cpu.controls.interrupt_window = False
        while g.cpu.run() != Halted():
            pass


def test_the_window_is_left_where_it_opens(kvm: str) -> None:
    with guest(kvm, "40 ebfd") as g:  # inc ax; jmp: until an interrupt comes
        g.cpu.regs.rflags = 0x202
        for vector in (0x20, 0x21, 0x22):
            g.ram[4 * vector : 4 * vector + 4] = bytes.fromhex("00200000")
            g.ram[0x2000:0x2002] = bytes.fromhex("43cf")  # inc bx; iret
            g.cpu.controls.interrupt_window = True
            assert g.cpu.run() == InterruptWindow()
            g.cpu.inject(vector)
            g.cpu.controls.interrupt_window = False
            assert g.cpu.run(budget=3) == BudgetSpent()
        assert not engine_of(g)._alone
        assert g.cpu.regs.bx == 3
