"""Machines with interrupt controllers: vCPUs in flat 32-bit protected mode, handlers that note their vector and end the
interrupt.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tests.privilege.machine import CODE0, DATA0, GDT, IDT, descriptor, gate

from pyhv import DeadlinePassed, Exit, Halted, Mapping, VCpu, VirtualMachine

LOCAL: Final = 0xFEE0_0000
IO: Final = 0xFEC0_0000
ID, VERSION, TPR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
TIMER, LINT0, LINT1, ERROR, INITIAL, CURRENT, DIVIDE = 0x320, 0x350, 0x360, 0x370, 0x380, 0x390, 0x3E0
MASKED: Final = 1 << 16
PERIODIC, DEADLINE = 1 << 17, 2 << 17
LEVEL: Final = 1 << 15
BASE, TSC_DEADLINE, X2APIC = 0x1B, 0x6E0, 0x800
CODE: Final = 0x10000
"""Of vCPU n at + 0x1000 n."""
HANDLERS: Final = 0x20000
LOGS: Final = 0x60000
STACKS: Final = 0x70000
ADDRESSED: Final = "mov edi, 0xfee00000;"
MS: Final = 1_000_000
TRIES: Final = 20


def handler(cpu: int, vector: int) -> bytes:
    """Note `vector` in the log of the vCPU, end the interrupt, return."""
    count, log = LOGS + 0x1000 * cpu, LOGS + 0x1000 * cpu + 8
    return (
        b"\x50\xa1" + struct.pack("<I", count)  # push eax; mov eax, [count]
        + b"\xc6\x80" + struct.pack("<IB", log, vector)  # mov byte ptr [eax + log], vector
        + b"\xff\x05" + struct.pack("<I", count)  # inc dword ptr [count]
        + b"\xc7\x05" + struct.pack("<II", LOCAL + EOI, 0)  # mov dword ptr [EOI], 0
        + b"\x58\xcf"  # pop eax; iretd
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """A VM whose vCPUs each have their code, stack, handlers and log."""

    vm: VirtualMachine
    ram: Mapping
    assemble: Callable[[str, int, int], bytes]
    patience: float = 1
    cpus: list[VCpu] = field(default_factory=list)

    def put(self, at: int, data: bytes) -> None:
        self.ram[at : at + len(data)] = data

    def add(self) -> VCpu:
        """One more vCPU, ready to execute, its local APIC enabled with spurious vector 0xFF."""
        n = len(self.cpus)
        cpu = self.vm.vcpu()
        self.cpus.append(cpu)
        idt = IDT + 0x800 * n
        for vector in range(256):
            at = HANDLERS + 0x4000 * n + 32 * vector
            self.put(at, handler(n, vector))
            self.put(idt + 8 * vector, gate(CODE0, at, 14))
        cpu.enter_protected()
        cpu.segments.gdtr.base, cpu.segments.gdtr.limit = GDT, 0x17
        cpu.segments.idtr.base, cpu.segments.idtr.limit = idt, 0x7FF
        cpu.segments.cs.selector = CODE0
        cpu.segments.ss.selector = DATA0
        cpu.regs.rsp = STACKS + 0x1000 * (n + 1)
        cpu.write_vmcs(0x4826, 0)  # it need not wait for a start-up message
        self.write(SVR, 0x1FF, n)
        self.write(LDR, 1 << (24 + n), n)
        return cpu

    def code(self, text: str, n: int = 0) -> None:
        """Let vCPU n execute `text`, with EDI at the local APIC and ESI at the I/O APIC."""
        at = CODE + 0x1000 * n
        self.put(at, self.assemble("mov edi, 0xfee00000; mov esi, 0xfec00000;" + text, at, 32))
        self.cpus[n].regs.rip = at
        self.cpus[n].regs.rflags = 2
        self.cpus[n].write_vmcs(0x4826, 0)

    def vector(self, number: int, text: str, n: int = 0) -> None:
        """Another handler for a vector of vCPU n."""
        at = CODE + 0x1000 * n + 0x800
        self.put(at, self.assemble(text, at, 32))
        self.put(IDT + 0x800 * n + 8 * number, gate(CODE0, at, 14))

    def write(self, register: int, value: int, n: int = 0) -> bool:
        """Write a register of the local APIC from outside."""
        return self.cpus[n].engine.apic_write(register, value)

    def read(self, register: int, n: int = 0) -> int:
        return self.cpus[n].engine.apic_read(register)

    def io_write(self, register: int, value: int) -> None:
        hub = self.vm.interrupts.engine
        hub.io_write(0, register)
        hub.io_write(0x10, value)

    def io_read(self, register: int) -> int:
        hub = self.vm.interrupts.engine
        hub.io_write(0, register)
        return hub.io_read(0x10)

    def redirect(self, pin: int, low: int, high: int = 0) -> None:
        """Set a redirection entry."""
        self.io_write(0x11 + 2 * pin, high)
        self.io_write(0x10 + 2 * pin, low)

    def log(self, n: int = 0) -> list[int]:
        """The vectors that vCPU n has served."""
        at = LOGS + 0x1000 * n
        return list(self.ram[at + 8 : at + 8 + struct.unpack("<I", bytes(self.ram[at : at + 4]))[0]])

    def run(self, ms: float = 1000, n: int = 0) -> Exit:
        """Run until an exit, at most so long by the VM's clock."""
        return self.cpus[n].run(deadline_ns=self.vm.clock.now_ns + round(ms * MS))

    def to_halt(self, n: int = 0) -> None:
        """Run to HLT with interrupts off."""
        assert self.run(1000 * self.patience, n) == Halted(), hex(self.cpus[n].regs.rip)

    def idle(self, ms: float = 2, n: int = 0) -> None:
        """Run into HLT with interrupts on, and stay there: at once, or after some such times where a KVM emulates."""
        for _ in range(1 if self.patience == 1 else TRIES):
            assert self.run(ms * self.patience, n) == DeadlinePassed()
            if self.cpus[n].read_vmcs(0x4826) == 1:
                break
        assert self.cpus[n].read_vmcs(0x4826) == 1, hex(self.cpus[n].regs.rip)

    def in_thread(self, n: int, ms: float = 5000) -> Running:
        """Run a vCPU in a thread of its own."""
        return Running(self, n, ms)


class Running:
    """A vCPU that runs in its thread, to be waited for."""

    def __init__(self, machine: Machine, n: int, ms: float) -> None:
        self._machine, self._n, self._ms = machine, n, ms
        self.exit: Exit | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.exit = self._machine.run(self._ms, self._n)

    def join(self) -> Exit:
        """What its run has ended with."""
        self._thread.join(20)
        assert self.exit is not None, "the vCPU's thread did not come back"
        return self.exit

    def stop(self) -> Exit:
        """Kick it."""
        self._machine.cpus[self._n].kick()
        return self.join()


def fill(machine: Machine) -> None:
    """The descriptor table."""
    machine.put(GDT + CODE0, descriptor(0, 0xFFFFF, 0x9B, 0xC))
    machine.put(GDT + DATA0, descriptor(0, 0xFFFFF, 0x93, 0xC))
