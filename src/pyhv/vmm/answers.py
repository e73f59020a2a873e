"""What a board's devices answer to a processor's exits, for every way of running processors."""

from __future__ import annotations

from collections.abc import Callable

from pyhv import (
    BadGuestState,
    BudgetSpent,
    DeadlinePassed,
    Exit,
    Halted,
    Hypercall,
    InterruptWindow,
    Kicked,
    MmioFetch,
    MmioLoad,
    MmioStore,
    MonitorTrap,
    MsrRead,
    MsrWrite,
    PortIn,
    PortOut,
    PortOutMany,
    Shutdown,
    VCpu,
)

from .autopsy import explain_fetch, explain_shutdown
from .boards.pc_apic import PcApic
from .outcome import GuestDied, HaltedForever, NotCarried, Outcome

REP_IN_ITEMS = 4096  # items answered at once
Answer = Callable[..., None]


def device_answers(cpu: VCpu, board: PcApic) -> dict[type[Exit], Answer]:
    """By kind of exit: what asks a device, which is nearly everything. Call them with the exit."""
    ports, mmio, answer = board.ports, board.mmio, cpu.answer

    def port_out(exit_: PortOut) -> None:
        ports.write(exit_.port, exit_.size_bytes, exit_.data)

    def port_in(exit_: PortIn) -> None:
        if exit_.count == 1:
            answer(ports.read(exit_.port, exit_.size_bytes))
        else:
            size, count = exit_.size_bytes, min(exit_.count, REP_IN_ITEMS)
            answer(b"".join(ports.read(exit_.port, size).to_bytes(size, "little") for _ in range(count)))

    def port_out_many(exit_: PortOutMany) -> None:
        size = exit_.size_bytes
        for at in range(0, len(exit_.data), size):
            ports.write(exit_.port, size, int.from_bytes(exit_.data[at : at + size], "little"))

    def load(exit_: MmioLoad) -> None:
        answer(mmio.read(exit_.gpa, exit_.size_bytes))

    def store(exit_: MmioStore) -> None:
        mmio.write(exit_.gpa, exit_.size_bytes, exit_.value)

    return {PortOut: port_out, PortIn: port_in, PortOutMany: port_out_many, MmioLoad: load, MmioStore: store}


def end_of(cpu: VCpu, exit_: Exit) -> Outcome | None:
    """How an exit that is no device's ends the run; None: it does not."""
    match exit_:
        case Kicked() | DeadlinePassed() | BudgetSpent() | InterruptWindow() | MonitorTrap():
            return None
        case Halted():  # with interrupts off: others than the boot processor are parked so, until INIT or an NMI
            why = "HLT with interrupts off on the boot processor; nothing here sends it an NMI"
            return None if cpu.index else HaltedForever(why)
        case Shutdown():
            return GuestDied(_of(cpu, explain_shutdown(cpu)))
        case MmioFetch(gpa):
            return GuestDied(_of(cpu, explain_fetch(cpu, gpa)))
        case BadGuestState(reason):
            return GuestDied(_of(cpu, f"the processor cannot run in this state: {reason}"))
        case MsrRead(msr) | MsrWrite(msr):
            cpu.refuse()
            return NotCarried(f"MSR {msr:#x}, which this machine does not have")
        case Hypercall():
            return NotCarried("VMCALL: the guest calls a hypervisor interface, and this machine has none")
        case _:
            return NotCarried(f"an exit that nobody asked for: {exit_}")


def _of(cpu: VCpu, text: str) -> str:
    return f"processor {cpu.index}: {text}" if cpu.index else text
