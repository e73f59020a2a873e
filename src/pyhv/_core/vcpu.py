"""One virtual processor, as both faces know it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, SupportsIndex, cast

from ..addresses import GPA
from ..arch.x86_64.layouts import Interruptibility
from ..arch.x86_64.registers import Reg
from ..arch.x86_64.vmcs import ERROR_CODE_VECTORS, Event, Vmcs
from ..engines.base import EngineVcpu
from ..errors import BadArgument, Busy, HvError, HvReturn, Unsupported
from ..exits import Exit
from . import modes, threads, virtual
from .breakpoints import Breakpoints
from .checks import integer
from .closed import ClosedEngine
from .controls import Controls, ExitInfo
from .cpuid import CpuidLeaf, checked
from .msrs import Msrs
from .registers import Registers
from .rules import Rules
from .segments import Segments
from .spaces import ApicPages, Space
from .state import CpuState, read_state, write_state
from .virtual import Instruction

if TYPE_CHECKING:
    from .vm import VirtualMachine

_STRAIGHT: Final = ("run", "step", "answer", "refuse", "finish", "kick")
_IF: Final = 1 << 9
_IO: Final = 30  # the exit reason of an I/O instruction
_ZF: Final = 1 << 6  # VMfailValid: the reason stands in the VM-instruction error field


class VCpu:
    """One virtual processor; `VirtualMachine.vcpu` makes it.

    Fresh: real mode, segment bases 0, limits 0xFFFF, RFLAGS 2, RIP 0. Used by one thread at a time: while it runs in
    one, any use from another is Busy, except `kick()`. Closed raises Closed.
    """

    # `run` and its kin are bound straight to the engine's methods on each instance, so that an exit costs no Python
    # frame; the methods below say what they do, and answer once the vCPU is closed.

    def __init__(self, vm: VirtualMachine, index: int, engine: EngineVcpu, rules: Rules) -> None:
        self.vm: Final = vm
        self.index: Final = index
        self.rules: Final = rules
        self.has_interrupts: Final = vm.has_interrupts
        self.engine: EngineVcpu = engine
        self.regs: Final = Registers(engine)
        self._breakpoints: Breakpoints | None = None
        self._closed = False
        self._vmx_status: int | None = None
        self._space = vm.space
        self._notifiers = vm.notifiers
        self.apic_pages: Final = ApicPages()
        self._owner: weakref.ref[threads.ThreadToken] | None = None
        for name in _STRAIGHT:
            self.__dict__[name] = getattr(engine, name)

    # Views are made when asked for: kept, each would keep the vCPU alive until the next garbage collection.

    @property
    def segments(self) -> Segments:
        """Segment and descriptor-table registers."""
        return Segments(self)

    @property
    def msrs(self) -> Msrs:
        """MSRs by name and number."""
        return Msrs(self)

    @property
    def controls(self) -> Controls:
        """Which events make an exit."""
        return Controls(self)

    @property
    def exit_info(self) -> ExitInfo:
        """What the VMCS knows about the last exit."""
        return ExitInfo(self)

    @property
    def breakpoints(self) -> Breakpoints:
        """Where a run stops: instructions and data by linear address."""
        if self._breakpoints is None:
            self._breakpoints = Breakpoints(weakref.proxy(self))
        return self._breakpoints

    # Running.

    def run(self, deadline_ns: int | None = None, budget: int | None = None) -> Exit:
        """Run the guest to its next exit.

        `deadline_ns` is a moment on `vm.clock`; `budget` a number of instructions, exact on the software CPU (an
        iteration of REP counts one). Raises BadArgument while an exit waits for `answer()`, Busy while another thread
        runs it. Ctrl-C raises KeyboardInterrupt at an instruction boundary; the vCPU can go on.
        """
        return self.engine.run(deadline_ns, budget)

    def step(self) -> Exit:
        """Execute one instruction: MonitorTrap, or the exit that it made instead."""
        return self.engine.step()

    def answer(self, value: int | bytes | None = None) -> None:
        """Give the last exit its value: PortIn, MmioLoad, MsrRead an int (REP INS: bytes), MsrWrite nothing.

        The next `run()` completes the instruction before anything else. Raises BadArgument when nothing waits, or
        when the value does not fit the access.
        """
        self.engine.answer(value)

    def refuse(self) -> None:
        """Give the guest #GP(0) for the MsrRead or MsrWrite that waits. Raises BadArgument when none does."""
        self.engine.refuse()

    def finish(self) -> Exit | None:
        """Complete the answered instruction without going on. None: done; else the exit of its next piece."""
        return self.engine.finish()

    def kick(self) -> None:
        """Make the run in progress, or the next one, end with Kicked; several kicks before that are one. Any thread.

        Apple: hv_vcpu_interrupt, hv_vcpus_exit.
        """
        self.engine.kick()

    @property
    def running(self) -> bool:
        """Whether some thread is in `run()` now."""
        return not self._closed and self.engine.running

    @property
    def unanswered(self) -> bool:
        """Whether the last exit waits for `answer()`."""
        return self.engine.unanswered

    def enter(self, deadline_ns: int | None) -> int:
        """Run as Apple's functions do, and give the exit reason; the rest stands in the VMCS.

        Raises HvError when the controls cannot be entered; `vmx_status` then has the processor's flags.
        """
        try:
            reason = self.engine.run_raw(deadline_ns)
            while reason == _IO and self._notifiers.all and self._notifiers.consume(self):
                reason = self.engine.run_raw(deadline_ns)
            return reason
        except HvError as failed:
            if failed.code == HvReturn.ERROR:
                self._vmx_status = _ZF
            raise

    @property
    def vmx_status(self) -> int | None:
        """ZF (bit 6) or CF (bit 0) of the last entry that failed for its controls; None when none did."""
        return self._vmx_status

    # Events.

    @property
    def interruptible(self) -> bool:
        """Whether the guest could take an external interrupt now: RFLAGS.IF, and no STI or MOV SS just before."""
        blocking = Interruptibility(self.engine.read_vmcs(Vmcs.GUEST_INTERRUPTIBILITY))
        return bool(self.engine.read_register(Reg.RFLAGS) & _IF) and not (blocking.sti or blocking.mov_ss)

    def inject(
        self, vector: SupportsIndex, error_code: SupportsIndex | None = None, *, kind: Event | None = None
    ) -> None:
        """Deliver an event at the next `run()`, before the next instruction. Only one can wait.

        `kind`: Event.INTERRUPT, or with an error code Event.EXCEPTION, unless given. Raises BadArgument for a vector
        that does not fit its kind, and for an external interrupt that the guest cannot take now: let
        `controls.interrupt_window` say when it can. SDM vol. 3C, "Event Injection".
        """
        number = integer("vector", vector, high=255)
        error = None if error_code is None else integer("error_code", error_code, high=0xFFFF_FFFF)
        chosen = _event(kind, Event.INTERRUPT if error is None else Event.EXCEPTION)
        self._check_event(number, error, chosen)
        self.engine.inject(number, error, int(chosen))

    def _check_event(self, vector: int, error: int | None, kind: Event) -> None:
        if kind is Event.INTERRUPT and not self.interruptible:
            raise BadArgument(
                "the guest cannot take an external interrupt now (RFLAGS.IF is 0, or STI or MOV SS came just before);"
                " set controls.interrupt_window = True and inject at the InterruptWindow exit"
            )
        if kind is Event.NMI and vector != 2:
            raise BadArgument(f"an NMI has vector 2, not {vector}")
        if kind is Event.EXCEPTION and vector > 31:
            raise BadArgument(f"an exception has a vector from 0 to 31, not {vector}; Event.INTERRUPT would do")
        wants = kind is Event.EXCEPTION and vector in ERROR_CODE_VECTORS and bool(self.regs.cr0.pe)
        if wants != (error is not None):
            need = "needs" if wants else "takes no"
            mode = "" if self.regs.cr0.pe else " in real mode"
            raise BadArgument(f"{kind.name} {vector}{mode} {need} error code")
        if self.engine.read_vmcs(Vmcs.ENTRY_INTERRUPTION_INFO) >> 31:
            raise Busy("an injected event already waits for the next run")

    def nmi(self) -> None:
        """Deliver a non-maskable interrupt at the next `run()`. Raises BadArgument while the guest blocks NMIs."""
        if Interruptibility(self.engine.read_vmcs(Vmcs.GUEST_INTERRUPTIBILITY)).nmi:
            raise BadArgument(
                "the guest is in its NMI handler; set controls.nmi_window = True and try at the NmiWindow exit"
            )
        self.inject(2, kind=Event.NMI)

    # State.

    @property
    def state(self) -> CpuState:
        """The whole state as one frozen value.

        Taken while an exit waits for an answer, it is before that instruction.
        """
        return read_state(self.engine)

    @state.setter
    def state(self, value: CpuState) -> None:
        if not isinstance(value, CpuState):
            raise TypeError(
                f"state takes a CpuState, not {type(value).__name__}; CpuState.from_bytes() makes one of bytes"
            )
        write_state(self.engine, value)

    @property
    def cpuid(self) -> list[CpuidLeaf]:
        """What CPUID answers; `default_cpuid()` unless something else was given."""
        return [CpuidLeaf(*row) for row in self.engine.get_cpuid()]

    @cpuid.setter
    def cpuid(self, rows: Iterable[Sequence[int]]) -> None:
        self.engine.set_cpuid(checked(rows))

    def read_vmcs(self, field: SupportsIndex) -> int:
        """A VMCS field by its encoding. Raises BadArgument where there is none. SDM vol.

        3D, "Field Encoding in VMCS".
        """
        number = integer("a VMCS field", field, high=0xFFFF_FFFF)
        try:
            return self.engine.read_vmcs(number)
        except KeyError:
            raise BadArgument(f"there is no VMCS field {number:#x} to read") from None

    def write_vmcs(self, field: SupportsIndex, value: SupportsIndex) -> None:
        """Set a VMCS field by its encoding.

        Raises BadArgument where there is none, or where it does not take the value.
        """
        number = integer("a VMCS field", field, high=0xFFFF_FFFF)
        try:
            self.engine.write_vmcs(number, integer(f"VMCS field {number:#x}", value))
        except KeyError:
            raise BadArgument(f"there is no VMCS field {number:#x} to write") from None

    def reset(self) -> None:
        """The state after RESET: real mode, RIP 0xFFF0, CS base 0xFFFF_0000. SDM vol.

        3A, "Processor State After Reset".
        """
        self.engine.reset()

    def enter_protected(self) -> None:
        """32-bit protected mode: flat segments, paging off, interrupts off. RIP and the general registers stay.

        No table is written to guest memory (GDT and IDT limits are 0): a guest that reloads segments brings its own.
        """
        modes.enter_protected(self)

    def enter_long(self, cr3: SupportsIndex) -> None:
        """64-bit mode with the 4-level page tables at GPA `cr3`; otherwise as `enter_protected()`.

        Raises BadArgument when `cr3` cannot be the address of a table.
        """
        modes.enter_long(self, cr3, self.vm.gpa_bits)

    # Memory as the guest sees it.

    @property
    def space(self) -> Space:
        """The guest-physical address space that it is in; setting it moves the vCPU, which is not to be running.

        Raises BadArgument for a space of another VM or one that is closed, Unsupported. Apple: hv_vcpu_set_space.
        """
        return self._space

    @space.setter
    def space(self, space: Space) -> None:
        self.vm.spaces.move(self, space)

    def entered_space(self, space: Space) -> None:
        """What follows from a move that is done; `space` calls this."""
        self._space = space
        self.apic_pages.watch(self)

    def translate(self, gva: SupportsIndex, *, write: bool = False) -> GPA | None:
        """The GPA behind a linear address, by the guest's own tables; None where the access would fault."""
        found = self.engine.translate(integer("gva", gva), write)
        return None if found is None else GPA(found)

    def read_virtual(self, gva: SupportsIndex, size: SupportsIndex) -> bytes:
        """`size` bytes from linear address `gva` on. Raises Fault at the first page that is not there."""
        return virtual.read(self, gva, size)

    def write_virtual(self, gva: SupportsIndex, data: bytes) -> None:
        """Put bytes at linear address `gva`, also over read-only pages.

        Raises Fault at a page that is not there, writing nothing.
        """
        virtual.write(self, gva, data)

    def disassemble(self, at: SupportsIndex | None = None, count: int = 1) -> list[Instruction]:
        """The next `count` instructions, from RIP or from linear address `at`.

        Ends early where memory or meaning ends.
        """
        return virtual.disassemble(self, at, count)

    # Figures.

    @property
    def instructions(self) -> int:
        """Instructions executed so far."""
        return self.engine.instructions

    @property
    def exec_time_ns(self) -> int:
        """Nanoseconds spent running the guest. Apple: hv_vcpu_get_exec_time."""
        return self.engine.exec_time_ns

    @property
    def idle_time_ns(self) -> int:
        """Nanoseconds that it waited inside runs: in HLT, or for a start-up message. Apple: hv_vcpu_get_idle_time."""
        return self.engine.idle_ns

    def stats(self) -> dict[str, int]:
        """The engine's own counters. Raises Unsupported where it keeps none."""
        return cast(dict[str, int], self._optional("stats")())

    def trace(self, keep: SupportsIndex) -> None:
        """Remember where the last `keep` instructions were (0: off). Slows the guest.

        Unsupported where the engine cannot.
        """
        self._optional("trace")(integer("keep", keep, high=1 << 20))

    def traced(self) -> list[tuple[int, int, int]]:
        """The remembered instructions, oldest first: linear address, CS base, bits of the mode (16, 32, 64)."""
        return cast(list[tuple[int, int, int]], self._optional("traced")())

    def recent(self) -> list[tuple[int, int, int]]:
        """The last runs of instructions without a jump, oldest first: linear address, bits of the mode, instructions.

        Kept always. The last one may have stopped at RIP. Unsupported where the engine cannot.
        """
        return cast(list[tuple[int, int, int]], self._optional("recent")())

    def _optional(self, name: str) -> Any:
        try:
            return getattr(self.engine, name)
        except AttributeError:
            raise Unsupported(f"this engine has no {name}; the soft engine does") from None

    # Owning and closing.

    def own(self, token: threads.ThreadToken) -> None:
        """Bind it to the thread of `token`; strict rules only."""
        self._owner = weakref.ref(token)
        token.vcpu = self

    @property
    def orphaned(self) -> bool:
        """Whether it belonged to a thread, and that has ended."""
        return self._owner is not None and self._live_owner() is None

    def _live_owner(self) -> threads.ThreadToken | None:
        owner = self._owner() if self._owner is not None else None
        return None if owner is None or owner.ended else owner

    def require_owner(self) -> None:
        """Raise BadArgument unless the calling thread owns it."""
        if self._owner is not None and self._owner() is not threads.current():
            owner = self._live_owner()
            who = f"thread {owner.name!r}" if owner else "a thread that has ended"
            raise BadArgument(
                f"vCPU {self.index} belongs to {who}; only that thread may use it (any thread may interrupt it)"
            )

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Destroy it; twice is fine. Raises Busy while another thread runs it (kick it first). Apple: hv_vcpu_destroy.

        Under strict rules only its own thread may, or any thread once that has ended.
        """
        if self._closed:
            return
        if not self.orphaned:
            self.require_owner()
        if self.engine.running:
            raise Busy(f"vCPU {self.index} is running in another thread; kick() it and let that thread come back first")
        self.shut("closed before this use")
        self.vm.forget(self)

    def shut(self, why: str, *, kick: bool = True) -> EngineVcpu:
        """Let every later use raise Closed, and kick a run in progress. Returns the engine's object, to wait for it."""
        engine, self._closed = self.engine, True
        owner = self._owner() if self._owner is not None else None
        if owner is not None and owner.vcpu is self:
            owner.vcpu = None
        closed = ClosedEngine(f"vCPU {self.index} was {why}")
        engine.close(closed.reason, kick)
        self.engine = cast(EngineVcpu, closed)
        self.regs.close(closed)
        for name in _STRAIGHT:
            self.__dict__.pop(name, None)
        return engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = "closed" if self._closed else "running" if self.engine.running else f"rip {self.regs.rip:#x}"
        return f"<VCpu {self.index}, {what}>"


def _event(kind: int | None, default: Event) -> Event:
    if kind is None:
        return default
    try:
        return Event(kind)
    except ValueError:
        known = ", ".join(f"{event.name} ({event.value})" for event in Event)
        raise BadArgument(f"kind {kind} is no event; there are {known}") from None
