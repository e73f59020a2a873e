"""Promises of the objects: exits that wait for a value, posted writes, devices."""

from __future__ import annotations

from collections.abc import Callable

from .. import (
    Cpuid,
    Halted,
    Hypercall,
    MmioFetch,
    MmioLoad,
    MmioStore,
    MsrRead,
    MsrWrite,
    Perm,
    PortIn,
    PortOut,
    PortOutMany,
    VCpu,
    VirtualMachine,
)
from ..errors import BadArgument
from ._promise import promise
from .guest import CODE, HOLE, guest, raises


@promise
def a_port_read_waits_for_its_answer(engine: str) -> None:
    """objects: after PortIn nothing has happened; the answer is taken by the next run, and only AL changes."""
    with guest(engine, "ba6000 b8aabb ec f4") as g:
        assert g.cpu.run() == PortIn(0x60, 1, 1)
        assert g.cpu.regs.rip == CODE + 6
        assert g.cpu.unanswered
        raises(BadArgument, g.cpu.run)
        assert g.cpu.regs.rip == CODE + 6
        g.cpu.answer(0x5A)
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.ax == 0xBB5A


@promise
def an_answer_must_fit(engine: str) -> None:
    """objects: an answer wider than the access, or where nothing waits, is BadArgument; what waits still waits."""
    with guest(engine, "e461 f4") as g:
        raises(BadArgument, lambda: g.cpu.answer(1))
        assert g.cpu.run() == PortIn(0x61, 1, 1)
        raises(BadArgument, lambda: g.cpu.answer(0x100))
        assert g.cpu.unanswered
        g.cpu.answer(0xFF)
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.al == 0xFF
        raises(BadArgument, lambda: g.cpu.answer(1))


@promise
def finish_completes_without_going_on(engine: str) -> None:
    """objects: finish() completes the answered instruction only."""
    with guest(engine, "e461 40 f4") as g:
        g.cpu.run()
        g.cpu.answer(7)
        assert g.cpu.finish() is None
        assert (g.cpu.regs.rip, g.cpu.regs.al) == (CODE + 2, 7)
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.al == 8


@promise
def a_load_from_nowhere_is_a_device(engine: str) -> None:
    """objects: MmioLoad with the GPA and the size; the answer is what the guest loads."""
    with guest(engine, "a01000 8b1e2000 66 8b0e3000 f4") as g:
        assert g.cpu.run() == MmioLoad(HOLE + 0x10, 1)  # type: ignore[arg-type]
        assert g.cpu.regs.rip == CODE
        g.cpu.answer(0x77)
        assert g.cpu.run() == MmioLoad(HOLE + 0x20, 2)  # type: ignore[arg-type]
        g.cpu.answer(0x1234)
        assert g.cpu.run() == MmioLoad(HOLE + 0x30, 4)  # type: ignore[arg-type]
        g.cpu.answer(0x89AB_CDEF)
        assert g.cpu.run() == Halted()
        assert (g.cpu.regs.al, g.cpu.regs.bx, g.cpu.regs.ecx) == (0x77, 0x1234, 0x89AB_CDEF)


@promise
def a_store_to_nowhere_is_posted(engine: str) -> None:
    """objects: MmioStore has the value, and RIP is after the instruction."""
    with guest(engine, "b8cdab a31000 f4") as g:
        assert g.cpu.run() == MmioStore(HOLE + 0x10, 2, 0xABCD)  # type: ignore[arg-type]
        assert g.cpu.regs.rip == CODE + 6
        assert g.cpu.run() == Halted()


@promise
def a_fetch_from_nowhere_says_where(engine: str) -> None:
    """objects: MmioFetch with the GPA; RIP is at it."""
    with guest(engine, "f4") as g:
        g.cpu.segments.cs.load_real(HOLE >> 4)
        assert g.cpu.run() == MmioFetch(HOLE + CODE)  # type: ignore[arg-type]
        assert g.cpu.regs.rip == CODE


@promise
def a_guest_without_memory_fetches_from_nowhere(engine: str) -> None:
    """objects: a VM of no memory, then of memory that nobody may execute, then of such as may."""
    with VirtualMachine(engine) as vm, vm.vcpu() as cpu:
        cpu.regs.rip = CODE
        assert cpu.run() == MmioFetch(CODE)  # type: ignore[arg-type]
        assert cpu.regs.rip == CODE
        with vm.map(at=0, size=1 << 16, perm=Perm.RW) as ram:
            ram[CODE] = 0xF4
            assert cpu.run() == MmioFetch(CODE)  # type: ignore[arg-type]
            ram.protect(Perm.RWX)
            assert cpu.run() == Halted()
            assert cpu.regs.rip == CODE + 1


@promise
def read_modify_write_of_a_device_is_load_then_store(engine: str) -> None:
    """objects: INC of device memory is one MmioLoad and one MmioStore."""
    with guest(engine, "fe061000 f4") as g:
        assert g.cpu.run() == MmioLoad(HOLE + 0x10, 1)  # type: ignore[arg-type]
        g.cpu.answer(0x41)
        assert g.cpu.run() == MmioStore(HOLE + 0x10, 1, 0x42)  # type: ignore[arg-type]
        assert g.cpu.run() == Halted()


@promise
def rep_outs_comes_in_bulk(engine: str) -> None:
    """objects: REP OUTSB gives its bytes in order, and ends with CX 0 and SI moved on."""
    with guest(engine, "b90500 be0030 ba0204 f36e f4") as g:
        g.cpu.segments.ds.load_real(0)
        g.ram[0x3000:0x3005] = b"hello"
        said = b""
        while True:
            match g.cpu.run():
                case PortOut(port=0x402, size_bytes=1, data=byte):
                    said += bytes([byte])
                case PortOutMany(port=0x402, size_bytes=1, data=data):
                    said += data
                case Halted():
                    break
                case other:
                    raise AssertionError(f"unexpected {other}")
        assert said == b"hello"
        assert (g.cpu.regs.cx, g.cpu.regs.si) == (0, 0x3005)


@promise
def rep_ins_takes_bulk_answers(engine: str) -> None:
    """objects: REP INSB asks for several items; fewer may be answered, and it asks for the rest."""
    with guest(engine, "b90500 bf0030 ba6000 f36c f4") as g:
        pending, exits = b"world", 0
        while True:
            match g.cpu.run():
                case PortIn(port=0x60, size_bytes=1, count=count):
                    exits += 1
                    part, pending = pending[: min(count, 2)], pending[min(count, 2) :]
                    g.cpu.answer(part if count > 1 else part[0])
                case Halted():
                    break
                case other:
                    raise AssertionError(f"unexpected {other}")
        assert bytes(g.ram[0x3000:0x3005]) == b"world"
        assert exits >= 3
        assert (g.cpu.regs.cx, g.cpu.regs.di) == (0, 0x3005)


@promise
def an_msr_nobody_has_can_be_asked_for(engine: str) -> None:
    """objects: msr_exits=True makes unknown MSRs exits; answer() fills EDX:EAX, refuse() is #GP(0)."""
    with guest(engine, "66b945230100 0f32 0f30 0f32 f4", msr_exits=True) as g:
        assert g.cpu.run() == MsrRead(0x1_2345)
        g.cpu.answer(0x1111_2222_3333_4444)
        assert g.cpu.run() == MsrWrite(0x1_2345, 0x1111_2222_3333_4444)
        assert (g.cpu.regs.rdx, g.cpu.regs.rax) == (0x1111_2222, 0x3333_4444)
        g.cpu.answer()
        assert g.cpu.run() == MsrRead(0x1_2345)
        g.cpu.controls.exception_bitmap = 1 << 13
        g.cpu.refuse()
        exit_ = g.cpu.run()
        assert getattr(exit_, "vector", None) == 13, exit_
        assert g.cpu.regs.rip == CODE + 10


@promise
def an_msr_can_be_made_to_exit(engine: str) -> None:
    """objects: msr_exits with numbers, or msrs.exits(name): exactly those leave.

    The others are answered by the vCPU.
    """
    with guest(engine, "66b9820000c0 0f32 66b9100000 00 0f32 f4", msr_exits=[0x10]) as g:  # LSTAR, then TSC
        g.cpu.msrs.lstar = 0x1234
        assert g.cpu.run() == MsrRead(0x10)
        assert g.cpu.regs.rax == 0x1234
        g.cpu.answer(5)
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rax == 5
        g.cpu.regs.rip = CODE
        g.cpu.msrs.exits("LSTAR")
        assert g.cpu.run() == MsrRead(0xC000_0082)


@promise
def cpuid_can_be_made_to_exit(engine: str) -> None:
    """objects: with cpuid_exits CPUID is a Cpuid exit, RIP after it; the program writes the registers."""
    with guest(engine, "66b807000000 66b903000000 0fa2 f4", cpuid_exits=True) as g:
        assert g.cpu.run() == Cpuid(7, 3)
        assert g.cpu.regs.rip == CODE + 14
        g.cpu.regs.rax = 9
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rax == 9


@promise
def vmcall_is_a_hypercall(engine: str) -> None:
    """objects: VMCALL is a Hypercall exit, RIP after it."""
    with guest(engine, "0f01c1 f4") as g:
        assert g.cpu.run() == Hypercall()
        assert g.cpu.regs.rip == CODE + 3
        assert g.cpu.run() == Halted()


@promise
def cpuid_answers_from_the_table(engine: str) -> None:
    """objects: CPUID does not exit; it answers from the vCPU's own table."""
    rows = [(0, 0, 1, 0x6F68_7970, 0x2121_2121, 0x7600_0000), (1, 0, 0x1234, 0, 0, 0)]
    with guest(engine, "6631c0 0fa2 f4", cpuid=rows) as g:
        assert g.cpu.run() == Halted()
        assert (g.cpu.regs.rax, g.cpu.regs.rbx) == (1, 0x6F68_7970)
        assert (g.cpu.regs.rcx, g.cpu.regs.rdx) == (0x2121_2121, 0x7600_0000)
        assert g.cpu.cpuid == [*map(tuple, rows)]


@promise
def registers_written_after_an_answer_stay(engine: str) -> None:
    """objects: whatever finishes the instruction, the answer and what else was written are both there."""
    ways: tuple[Callable[[VCpu], object], ...] = (
        *(lambda cpu: cpu.run(), lambda cpu: cpu.run(budget=1)),
        *(lambda cpu: cpu.step(), lambda cpu: cpu.finish()),
    )
    for way in ways:
        with guest(engine, "e461 f4") as g:
            assert g.cpu.run() == PortIn(0x61, 1, 1)
            g.cpu.answer(0x5A)
            g.cpu.regs.rbx, g.cpu.msrs.lstar = 7, 0x1234
            way(g.cpu)
            assert (g.cpu.regs.rax, g.cpu.regs.rbx, g.cpu.msrs.lstar) == (0x5A, 7, 0x1234)
