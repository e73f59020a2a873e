"""The loop: run to the next exit, answer it from the buses, let time pass for the devices, until something ends it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import assert_never

from pyhv import (
    BadGuestState,
    Breakpoint,
    BudgetSpent,
    Cpuid,
    CrAccess,
    DeadlinePassed,
    DrAccess,
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
    NmiWindow,
    PortIn,
    PortOut,
    PortOutMany,
    Shutdown,
    Unnamed,
    VCpu,
    VirtualMachine,
    Vmcs,
    Watchpoint,
)
from pyhv import (
    Exception as ExceptionExit,
)

from .autopsy import explain_fetch, tell_shutdown
from .boards.pc import Pc
from .counts import executed
from .limits import Limits, WatchingSink
from .listing import Tracer
from .outcome import (
    GuestDied,
    HaltedForever,
    Interrupted,
    LimitReached,
    NotCarried,
    Outcome,
    TextSeen,
    TimedOut,
)
from .personality import Personality

NS = 1_000_000_000
EVENT_WAITS = 1 << 31  # an injected event that is not delivered yet
SLICE_NS = 50_000_000  # how long output may stay unseen and input unnoticed
REP_IN_ITEMS = 4096  # items answered at once


class Run:
    """One run of one processor on a board."""

    def __init__(
        self,
        vm: VirtualMachine,
        cpu: VCpu,
        board: Pc,
        limits: Limits,
        *,
        personality: Personality | None = None,
        watch: WatchingSink | None = None,
        tracer: Tracer | None = None,
        on_slice: Callable[[int | None, float], None] | None = None,
    ) -> None:
        """`limits.instructions` needs an engine that counts them. With a `tracer` the run goes step by step, which is
        slow; `on_slice` is called about 20 times a second."""
        self._cpu, self._board, self._limits = cpu, board, limits
        self._personality, self._watch = personality, watch
        self._tracer, self._on_slice = tracer, on_slice
        self._now: Callable[[], int] = lambda: vm.clock.now_ns
        self._next_exit = self._plain_exit
        if limits.instructions is not None:
            self._next_exit = self._counted_exit
        if tracer:
            self._next_exit = self._stepped_exit
        if watch:
            watch.on_seen = board.ring
        self._window_asked = False
        self._first_instruction = executed((cpu,)) or 0
        self._started_ns = self._now()
        self._end_ns = None if limits.seconds is None else self._started_ns + int(limits.seconds * NS)
        self._slice_ns = self._started_ns + SLICE_NS
        self._deadline_ns = self._slice_ns
        self._kinds: defaultdict[type[Exit], int] = defaultdict(int)

    @property
    def instructions(self) -> int | None:
        """Executed in this run; None on an engine that does not count them."""
        now = executed((self._cpu,))
        return None if now is None else now - self._first_instruction

    @property
    def seconds(self) -> float:
        """Passed on the VM's clock since the start."""
        return (self._now() - self._started_ns) / NS

    @property
    def exits(self) -> dict[str, int]:
        """How often each kind of exit came, most often first."""
        return {kind.__name__: count for kind, count in sorted(self._kinds.items(), key=lambda item: -item[1])}

    def to_the_end(self) -> Outcome:
        """Run until the guest, a limit or Ctrl-C ends it. Output is flushed."""
        outcome: Outcome | None = None
        try:
            while outcome is None:
                outcome = self._attend() if self._board.attention else self._once()
        except KeyboardInterrupt:
            return Interrupted()
        finally:
            self._board.sink.flush()
        return outcome

    def _once(self) -> Outcome | None:
        """One exit."""
        exit_ = self._next_exit()
        self._kinds[type(exit_)] += 1
        return self._answer(exit_)

    def _attend(self) -> Outcome | None:
        """A device has something: an end, an interrupt, another moment to be looked at."""
        self._board.attention = False
        if self._board.outcome:
            return self._board.outcome
        if self._watch and self._watch.seen:
            return TextSeen(self._limits.until.decode("utf-8", "replace") if self._limits.until else "")
        self._offer_interrupt()
        self._set_deadline()
        return None

    def _plain_exit(self) -> Exit:
        return self._cpu.run(self._deadline_ns)

    def _counted_exit(self) -> Exit:
        left = (self._limits.instructions or 0) - (self.instructions or 0)
        return self._cpu.run(self._deadline_ns, left) if left > 0 else BudgetSpent()

    def _stepped_exit(self) -> Exit:
        if self._now() >= self._deadline_ns:
            return DeadlinePassed()
        if self._limits.instructions is not None and (self.instructions or 0) >= self._limits.instructions:
            return BudgetSpent()
        return self._tracer.step() if self._tracer else self._cpu.step()

    def _set_deadline(self) -> None:
        """The next moment that somebody has to look: the end of the slice, a device's event, the end of the time."""
        moments = (self._slice_ns, self._board.next_event_ns(), self._end_ns)
        self._deadline_ns = min(moment for moment in moments if moment is not None)

    def _turn_slice(self, now: int) -> None:
        self._slice_ns = now + SLICE_NS
        self._board.sink.flush()
        if self._on_slice:
            self._on_slice(self.instructions, self.seconds)

    def _offer_interrupt(self) -> None:
        """While a device interrupts: give it to the processor, or ask to hear when that can take it."""
        pending = self._board.interrupt_pending
        if pending and self._cpu.interruptible and not self._cpu.read_vmcs(Vmcs.ENTRY_INTERRUPTION_INFO) & EVENT_WAITS:
            self._cpu.inject(self._board.acknowledge())
            pending = self._board.interrupt_pending
        if pending != self._window_asked:
            self._window_asked = pending
            self._cpu.controls.interrupt_window = pending

    def _answer(self, exit_: Exit) -> Outcome | None:
        """Do what the exit asks for; an outcome ends the run."""
        match exit_:
            case PortOut(port, size, data):
                self._board.ports.write(port, size, data)
            case PortIn(port, size, count):
                self._cpu.answer(self._port_in(port, size, count))
            case PortOutMany(port, size, data):
                for i in range(0, len(data), size):
                    self._board.ports.write(port, size, int.from_bytes(data[i : i + size], "little"))
            case MmioLoad(gpa, size):
                self._cpu.answer(self._board.mmio.read(gpa, size))
            case MmioStore(gpa, size, value):
                self._board.mmio.write(gpa, size, value)
            case DeadlinePassed():
                return self._time_passed()
            case InterruptWindow():
                self._board.ring()  # what waits is offered before the next run
            case MonitorTrap():
                pass
            case Halted():
                return self._halted()
            case _:
                return self._answer_rare(exit_)
        return None

    def _answer_rare(self, exit_: Exit) -> Outcome | None:
        match exit_:
            case ExceptionExit():
                if self._personality:
                    return self._personality.exception(exit_, self._wait)
                return NotCarried(f"exception {exit_.vector} was intercepted, which nobody asked for")
            case Shutdown():
                return GuestDied(*tell_shutdown(self._cpu))
            case MmioFetch(gpa):
                return GuestDied(explain_fetch(self._cpu, gpa))
            case BadGuestState(reason):
                return GuestDied(f"the processor cannot run in this state: {reason}")
            case BudgetSpent():
                return LimitReached(self.instructions or 0)
            case Kicked():
                return Interrupted()
            case Hypercall():
                return NotCarried("VMCALL: the guest calls a hypervisor interface, and this machine has none")
            case MsrRead(msr) | MsrWrite(msr):
                self._cpu.refuse()
                return NotCarried(f"MSR {msr:#x}, which this machine does not have")
            case CrAccess() | DrAccess() | Cpuid() | NmiWindow() | Breakpoint() | Watchpoint() | Unnamed():
                return NotCarried(f"an exit that nobody asked for: {exit_}")
            case (
                PortOut()
                | PortIn()
                | PortOutMany()
                | MmioLoad()
                | MmioStore()
                | DeadlinePassed()
                | InterruptWindow()
                | MonitorTrap()
                | Halted()
            ):
                raise AssertionError(f"answered before: {exit_}")
            case _:
                assert_never(exit_)

    def _port_in(self, port: int, size: int, count: int) -> int | bytes:
        ports = self._board.ports
        if count == 1:
            return ports.read(port, size)
        return b"".join(ports.read(port, size).to_bytes(size, "little") for _ in range(min(count, REP_IN_ITEMS)))

    def _time_passed(self) -> Outcome | None:
        now = self._now()
        if self._end_ns is not None and now >= self._end_ns:
            return TimedOut(self._limits.seconds or 0.0)
        if now >= self._slice_ns:
            self._turn_slice(now)
        self._board.advance(now)
        self._set_deadline()
        return None

    def _halted(self) -> Outcome | None:
        """HLT: wait for a device, or say why there is nothing to wait for."""
        if self._personality:
            handled, outcome = self._personality.halted(self._wait)
            if handled:
                return outcome
        if not self._cpu.regs.rflags.if_:
            return HaltedForever(
                "HLT with interrupts off (RFLAGS.IF = 0): only an NMI could wake it, and nothing here sends one"
            )
        while not self._board.interrupt_pending:
            why = self._board.why_nothing_wakes()
            if why:
                return HaltedForever(f"HLT, and {why}")
            outcome = self._wait()
            if outcome:
                return outcome
        self._board.ring()  # what ended it is offered before the next instruction, without waiting for a window
        return None

    def _wait(self) -> Outcome | None:
        """Sleep until something may have happened, a slice at most; an outcome when the time is over."""
        now = self._now()
        if self._end_ns is not None and now >= self._end_ns:
            return TimedOut(self._limits.seconds or 0.0)
        self._turn_slice(now)
        self._set_deadline()
        self._board.source.wait(max(self._deadline_ns - self._now(), 0) / NS)
        self._board.advance(self._now())
        return None
