"""Promises of the objects: registers, segments, MSRs, and the whole state as a value."""

from __future__ import annotations

import struct

from .. import CpuState, DeadlinePassed, Halted, Kicked, MmioLoad, PortIn, Segment, VirtualMachine
from ..addresses import GPA
from ..errors import BadArgument
from ._promise import promise
from .guest import CODE, HOLE, guest, raises

U64 = (1 << 64) - 1


@promise
def registers_keep_what_they_are_given(engine: str) -> None:
    """3.9: every general register takes 64 bits and gives them back; no two are the same."""
    names = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", *(f"r{n}" for n in range(8, 16)), "rip")
    with VirtualMachine(engine) as vm, vm.vcpu() as cpu:
        for number, name in enumerate(names):
            setattr(cpu.regs, name, U64 - number)
        assert [getattr(cpu.regs, name) for name in names] == [U64 - number for number in range(len(names))]


@promise
def parts_of_registers_are_parts(engine: str) -> None:
    """objects: AL, AH and AX keep the rest of RAX; EAX clears its upper half."""
    with VirtualMachine(engine) as vm, vm.vcpu() as cpu:
        cpu.regs.rax = 0x1122_3344_5566_7788
        cpu.regs.al, cpu.regs.ah = 0xAA, 0xBB
        assert cpu.regs.rax == 0x1122_3344_5566_BBAA
        cpu.regs.ax = 0xCCDD
        assert (cpu.regs.rax, cpu.regs.al, cpu.regs.ah) == (0x1122_3344_5566_CCDD, 0xDD, 0xCC)
        cpu.regs.eax = 1
        assert cpu.regs.rax == 1
        raises(BadArgument, lambda: setattr(cpu.regs, "al", 0x100), "0xff")
        raises(BadArgument, lambda: setattr(cpu.regs, "rax", 1 << 64))
        raises(BadArgument, lambda: setattr(cpu.regs, "rax", -1))
        raises(AttributeError, lambda: setattr(cpu.regs, "eaxx", 1))
        assert cpu.regs.rax == 1


@promise
def flags_have_names(engine: str) -> None:
    """objects: RFLAGS as a number with names, and each flag as an attribute; bit 1 stays set."""
    with VirtualMachine(engine) as vm, vm.vcpu() as cpu:
        cpu.regs.zf = cpu.regs.if_ = True
        assert cpu.regs.rflags == 0x242
        assert cpu.regs.rflags.zf
        assert not cpu.regs.rflags.cf
        cpu.regs.rflags = cpu.regs.rflags.replace(zf=0, cf=1)
        assert cpu.regs.rflags == 0x203


@promise
def the_guest_and_the_host_see_the_same_flags(engine: str) -> None:
    """3.9: flags that the guest computed are exact after the exit; flags that the host sets are what the guest sees."""
    with guest(engine, "b0ff 0401 f4 9c 58 f4") as g:  # add al,1 -> 0; hlt; pushf; pop ax; hlt
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rflags & 0x8D5 == 0x55  # CF PF AF ZF, not SF, not OF
        g.cpu.regs.cf, g.cpu.regs.sf, g.cpu.regs.zf = False, True, False
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.ax & 0x8D5 == 0x94  # SF PF AF


@promise
def segments_are_values(engine: str) -> None:
    """4.7, 4.9: segments read back what was written; a selector alone changes nothing else."""
    with VirtualMachine(engine) as vm, vm.vcpu() as cpu:
        wanted = Segment(0x33, 0x12_3450, 0xF_FFFF, 0xC093)
        cpu.segments.ds = wanted
        assert cpu.segments.ds.get() == wanted
        cpu.segments.ds.selector = 0x2B
        assert cpu.segments.ds.get() == Segment(0x2B, 0x12_3450, 0xF_FFFF, 0xC093)
        assert cpu.segments.ds.access_rights.db
        cpu.segments.gdtr.base, cpu.segments.gdtr.limit = 0x5000, 0x7F
        assert (cpu.segments.gdtr.base, cpu.segments.gdtr.limit) == (0x5000, 0x7F)
        raises(BadArgument, lambda: setattr(cpu.segments.ds, "selector", 0x1_0000), "0xffff")
        raises(TypeError, lambda: setattr(cpu.segments, "ds", 5), "Segment")


@promise
def msrs_go_by_name_and_number(engine: str) -> None:
    """objects: name, attribute and number are the same MSR; unknown ones are BadArgument."""
    with VirtualMachine(engine) as vm, vm.vcpu() as cpu:
        cpu.msrs["LSTAR"] = 0xFFFF_8000_0000_1000
        assert cpu.msrs.lstar == cpu.msrs["IA32_LSTAR"] == cpu.msrs[0xC000_0082] == 0xFFFF_8000_0000_1000
        cpu.msrs.efer = cpu.msrs.efer.replace(sce=1, nxe=1)
        assert cpu.msrs["EFER"] == 0x801
        raises(BadArgument, lambda: cpu.msrs["NOBODY"], "NOBODY")
        raises(BadArgument, lambda: cpu.msrs[0x1_2345], "0x12345")
        raises(BadArgument, lambda: cpu.msrs[1 << 32])


@promise
def debug_and_control_registers_round_trip(engine: str) -> None:
    """4.11: DR0 to DR3 round trip, DR6 has its fixed bits, DR7 0x400; CR2 and CR3 keep what they are given."""
    with VirtualMachine(engine) as vm, vm.vcpu() as cpu:
        cpu.regs.dr0, cpu.regs.dr3 = 0x1234, 0xFFFF_8000_0000_0000
        assert (cpu.regs.dr0, cpu.regs.dr3) == (0x1234, 0xFFFF_8000_0000_0000)
        assert cpu.regs.dr6 & 0xFFFF_0FF0 == 0xFFFF_0FF0
        assert cpu.regs.dr7 == 0x400
        cpu.regs.cr2, cpu.regs.cr3 = 0xDEAD_B000, 0x5000
        assert (cpu.regs.cr2, cpu.regs.cr3) == (0xDEAD_B000, 0x5000)


@promise
def a_state_can_be_gone_back_to(engine: str) -> None:
    """objects: a state set again leads to the same end, also in another VM, also through bytes."""
    code = "b96400 01c8 050700 40 e2f8 f4"  # mov cx,100; l: add ax,cx; add ax,7; inc ax; loop l; hlt
    with guest(engine, code) as g:
        g.cpu.run(budget=100)
        middle = g.cpu.state
        assert g.cpu.run() == Halted()
        end = g.cpu.state
        assert end != middle
        assert end.diff(middle)
        g.cpu.state = middle
        assert g.cpu.state == middle
        assert g.cpu.run() == Halted()
        assert g.cpu.state.diff(end) == []
    with guest(engine, code) as other:
        other.cpu.state = CpuState.from_bytes(middle.to_bytes())
        assert other.cpu.run() == Halted()
        assert other.cpu.state.diff(end) == []


@promise
def a_state_says_what_differs(engine: str) -> None:
    """objects: replace() and diff() by name."""
    with VirtualMachine(engine) as vm, vm.vcpu() as cpu:
        before = cpu.state
        after = before.replace({"cs.base": 0x10}, rip=CODE)
        assert sorted(before.diff(after)) == ["cs.base: 0x0 -> 0x10", f"rip: 0x0 -> {CODE:#x}"]
        raises(BadArgument, lambda: before.replace(rippp=1), "rippp")
        raises(BadArgument, lambda: before["nothing"])
        cpu.state = after
        assert (cpu.regs.rip, cpu.segments.cs.base) == (CODE, 0x10)
        raises(TypeError, lambda: setattr(cpu, "state", 5), "CpuState")


@promise
def a_waiting_event_is_part_of_the_state(engine: str) -> None:
    """objects: an injected interrupt that has not been delivered yet goes with the state."""
    with guest(engine, "90 f4") as g:
        g.ram[0x84:0x88] = b"\x00\x20\x00\x00"  # vector 0x21 -> 0000:2000
        g.ram[0x2000] = 0xF4
        g.cpu.regs.if_ = True
        without = g.cpu.state
        g.cpu.inject(0x21)
        waiting_event = g.cpu.state
        assert without.diff(waiting_event)
        g.cpu.state = without
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rip == CODE + 2
        g.cpu.state = waiting_event
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rip == 0x2001


@promise
def a_state_before_an_answer_asks_again(engine: str) -> None:
    """objects: a state taken while an exit waits is before that instruction; set again, it runs into the same exit."""
    with guest(engine, "e461 f4") as g:
        assert g.cpu.run() == PortIn(0x61, 1, 1)
        asking = g.cpu.state
        g.cpu.answer(1)
        assert g.cpu.run() == Halted()
        g.cpu.state = asking
        assert not g.cpu.unanswered
        assert g.cpu.run() == PortIn(0x61, 1, 1)
        g.cpu.state = asking
        assert g.cpu.run() == PortIn(0x61, 1, 1)
        g.cpu.answer(2)
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.al == 2


@promise
def a_state_within_an_instruction_keeps_its_answers(engine: str) -> None:
    """objects: what an unfinished instruction was answered goes with the state; only the rest is asked again."""
    with guest(engine, "66a1fe0f f4") as g:  # a load over the edge of two device pages: two exits
        assert g.cpu.run() == MmioLoad(GPA(HOLE + 0xFFE), 2)
        g.cpu.answer(0x1111)
        assert g.cpu.run() == MmioLoad(GPA(HOLE + 0x1000), 2)
        within = CpuState.from_bytes(g.cpu.state.to_bytes())
        assert within.unfinished
        g.cpu.answer(0x2222)
        assert g.cpu.run() == Halted()
        assert (g.cpu.regs.eax, g.cpu.state.unfinished) == (0x2222_1111, b"")
    with guest(engine, "66a1fe0f f4") as other:
        other.cpu.state = within
        assert other.cpu.run() == MmioLoad(GPA(HOLE + 0x1000), 2)
        other.cpu.answer(0x3333)
        assert other.cpu.run() == Halted()
        assert other.cpu.regs.eax == 0x3333_1111


@promise
def what_waits_in_a_state_is_delivered(engine: str) -> None:
    """objects: traps that are pending, events of every type, an NMI where NMIs are blocked; each once."""
    waiting: tuple[tuple[int, dict[str, int]], ...] = (
        (1, {"pending_debug": 1 << 14}),
        (1, {"pending_debug": 1 << 12 | 1}),
        (0x21, {"event.info": 1 << 31 | 0x21, "rflags": 0x202}),
        (2, {"event.info": 1 << 31 | 2 << 8 | 2}),
        (2, {"event.info": 1 << 31 | 2 << 8 | 2, "interruptibility": 8}),
        (6, {"event.info": 1 << 31 | 3 << 8 | 6}),
        (0x21, {"event.info": 1 << 31 | 4 << 8 | 0x21, "event.length": 2}),
        (1, {"event.info": 1 << 31 | 5 << 8 | 1, "event.length": 1}),
        (3, {"event.info": 1 << 31 | 6 << 8 | 3, "event.length": 1}),
    )
    for vector, changes in waiting:
        with guest(engine, "90 90 f4") as g:
            g.ram[4 * vector : 4 * vector + 4] = struct.pack("<HH", 0x2000, 0)
            g.ram[0x2000:0x2002] = bytes.fromhex("40cf")  # inc ax; iret
            g.cpu.state = g.cpu.state.replace(changes)
            assert g.cpu.run() == Halted()
            assert (g.cpu.regs.ax, g.cpu.state["pending_debug"], g.cpu.state["event.info"] >> 31) == (1, 0, 0), changes


@promise
def a_state_that_sleeps_goes_on_sleeping(engine: str) -> None:
    """objects: one that was taken in HLT waits for its interrupt; a deadline and a kick end the wait."""
    with guest(engine, "90 f4") as g:
        g.cpu.state = g.cpu.state.replace(activity=1, rflags=0x202)
        assert g.cpu.run(deadline_ns=g.vm.clock.now_ns + 5_000_000) == DeadlinePassed()
        g.cpu.kick()
        assert g.cpu.run() == Kicked()
        assert (g.cpu.regs.rip, g.cpu.state["activity"]) == (CODE, 1)
        g.ram[0x84:0x88] = struct.pack("<HH", CODE, 0)
        g.cpu.inject(0x21)
        assert g.cpu.run() == Halted()
        assert (g.cpu.regs.rip, g.cpu.state["activity"]) == (CODE + 2, 0)
