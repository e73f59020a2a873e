"""Everything a vCPU can say when it stops, as frozen values; the program matches on them and answers.

Who moves RIP is the same on every engine:

- PortIn, MmioLoad, MsrRead, MsrWrite: nothing has happened yet, RIP is on the instruction. `vcpu.answer(...)`, and
  the next `run()` (or `finish()`) completes it before any interrupt.
- PortOut, PortOutMany, MmioStore: posted, they are done when reported and RIP is after the instruction (still on it
  while further iterations of a REP, or further pieces of a wide store, remain).
- Halted, Cpuid, Hypercall: RIP is after the instruction.
- all others: RIP is at the instruction boundary where the vCPU stopped.

The binding fills these objects in place, without calling `__init__`: the order of the fields is part of its contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .addresses import GPA, GVA


@dataclass(frozen=True, slots=True)
class PortIn:
    """The guest reads a port. Answer with the value, or for `count` > 1 (REP INS) with up to `count` items as bytes."""

    port: int
    size_bytes: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class PortOut:
    """The guest wrote `data` (`size_bytes`: 1, 2 or 4) to an I/O port."""

    port: int
    size_bytes: int
    data: int


@dataclass(frozen=True, slots=True)
class PortOutMany:
    """REP OUTS wrote several items of `size_bytes` to one port; `data` holds them in guest byte order."""

    port: int
    size_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True)
class MmioLoad:
    """The guest reads `size_bytes` (1 to 8) at a GPA that no mapping backs. Answer with the value."""

    gpa: GPA
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MmioStore:
    """The guest wrote `value` of `size_bytes` (1 to 8) to a GPA that no mapping backs, or that is not writable."""

    gpa: GPA
    size_bytes: int
    value: int


@dataclass(frozen=True, slots=True)
class MmioFetch:
    """The guest fetches an instruction from a GPA that no mapping backs, or that is not executable."""

    gpa: GPA


@dataclass(frozen=True, slots=True)
class Halted:
    """HLT; RIP is after it. Going on needs an interrupt, which `run()` does not invent."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """A triple fault: delivering a double fault failed. RIP is where the first fault was."""


@dataclass(frozen=True, slots=True)
class Kicked:
    """`kick()` was called, during this run or since the last one."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """`run(deadline_ns=…)` reached its deadline."""


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """`run(budget=…)` executed its instructions."""


@dataclass(frozen=True, slots=True)
class MonitorTrap:
    """One instruction was executed: `step()`, or the VMCS monitor trap flag."""


@dataclass(frozen=True, slots=True)
class Exception:
    """An exception that the bitmap intercepts and the guest has not seen. RIP is on the instruction for faults.

    `error_code` is None for vectors without one; `address` is the faulting GVA of a #PF, else None.
    """

    vector: int
    error_code: int | None
    address: GVA | None


@dataclass(frozen=True, slots=True)
class InterruptWindow:
    """The guest can take an external interrupt now, and somebody asked to know."""


@dataclass(frozen=True, slots=True)
class NmiWindow:
    """The guest can take an NMI now, and somebody asked to know."""


@dataclass(frozen=True, slots=True)
class MsrRead:
    """RDMSR of an MSR that exits. Answer with the value; `refuse()` gives the guest #GP(0)."""

    msr: int


@dataclass(frozen=True, slots=True)
class MsrWrite:
    """WRMSR to an MSR that exits. `answer()` accepts it; `refuse()` gives the guest #GP(0)."""

    msr: int
    value: int


@dataclass(frozen=True, slots=True)
class Cpuid:
    """CPUID, where the vCPU was asked to exit for it. RIP is after it; write EAX to EDX."""

    leaf: int
    subleaf: int


@dataclass(frozen=True, slots=True)
class Hypercall:
    """VMCALL; RIP is after it. Arguments and result are in the registers."""


@dataclass(frozen=True, slots=True)
class CrAccess:
    """A control-register access that the controls intercept; RIP is on the instruction.

    `qualification` is Intel's: register in bits 3:0, kind in 5:4 (0 write, 1 read, 2 CLTS, 3 LMSW), GPR in 11:8.
    """

    qualification: int


@dataclass(frozen=True, slots=True)
class DrAccess:
    """A debug-register access that the controls intercept; RIP is on the instruction. `qualification` is Intel's."""

    qualification: int


@dataclass(frozen=True, slots=True)
class BadGuestState:
    """The registers cannot be entered; `reason` says which rule they break."""

    reason: str


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """The next instruction is one of `cpu.breakpoints`. It has not run; the next `run()` begins with it."""

    gva: GVA


@dataclass(frozen=True, slots=True)
class Watchpoint:
    """An instruction has touched memory that `cpu.breakpoints` watches, first with an access of `size_bytes` at `gva`.

    It is done, RIP is after it (still on it while further iterations of a REP remain).
    """

    gva: GVA
    size_bytes: int
    wrote: bool


@dataclass(frozen=True, slots=True)
class Unnamed:
    """An exit that has no class here; `raw` holds what the engine reported, for the reader of the log."""

    raw: dict[str, int]


Exit: TypeAlias = (
    PortIn
    | PortOut
    | PortOutMany
    | MmioLoad
    | MmioStore
    | MmioFetch
    | Halted
    | Shutdown
    | Kicked
    | DeadlinePassed
    | BudgetSpent
    | MonitorTrap
    | Exception
    | InterruptWindow
    | NmiWindow
    | MsrRead
    | MsrWrite
    | Cpuid
    | Hypercall
    | CrAccess
    | DrAccess
    | BadGuestState
    | Breakpoint
    | Watchpoint
    | Unnamed
)
"""Any of them. In our own loops end a match with `assert_never`; a user's loop should end with a default case."""
