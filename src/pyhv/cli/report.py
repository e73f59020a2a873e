"""What is said about a run: the exit code, a sentence, figures, and all of it as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, assert_never

from pyhv.vmm.boot import BootResult
from pyhv.vmm.console import Capture
from pyhv.vmm.outcome import (
    GuestDied,
    GuestExited,
    HaltedForever,
    Interrupted,
    LimitReached,
    NotCarried,
    Outcome,
    Panicked,
    PoweredOff,
    ResetAsked,
    TextSeen,
    TimedOut,
)
from pyhv.vmm.plan import Plan
from pyhv.vmm.session import Result

from .exit_codes import ExitCode, of_guest


def exit_code(outcome: Outcome) -> int:
    """The code of `docs/exit-codes.md`."""
    match outcome:
        case GuestExited(value, by):
            return ExitCode.SUCCESS if by == "DOS" and value == 0 else of_guest(value)
        case TextSeen() | PoweredOff():
            return ExitCode.SUCCESS
        case Panicked():
            return ExitCode.PANIC
        case GuestDied():
            return ExitCode.GUEST_DIED
        case HaltedForever():
            return ExitCode.HALTED
        case NotCarried():
            return ExitCode.NOT_CARRIED
        case LimitReached():
            return ExitCode.INSTRUCTION_LIMIT
        case ResetAsked():
            return ExitCode.RESET
        case TimedOut():
            return ExitCode.TIMEOUT
        case Interrupted():
            return ExitCode.INTERRUPTED
        case _:
            assert_never(outcome)


def sentence(outcome: Outcome) -> str:
    """How it ended, in words."""
    match outcome:
        case GuestExited(value, by):
            return f"the guest exited with {value} by {by}"
        case TextSeen(text):
            return f"the guest printed {text!r}"
        case PoweredOff():
            return "the guest switched the machine off"
        case Panicked(what):
            return f"the guest's kernel gave up: {what}"
        case GuestDied(why):
            return f"the guest died: {why}"
        case HaltedForever(why):
            return f"the guest halted for ever: {why}"
        case NotCarried(what):
            return f"this machine does not carry what the guest asked for: {what}"
        case LimitReached(instructions):
            return f"the limit of instructions is reached, after {instructions:,}"
        case ResetAsked(how):
            return f"the guest asked for a reset ({how})"
        case TimedOut(seconds):
            return f"the time is over: {seconds:g} s"
        case Interrupted():
            return "interrupted"
        case _:
            assert_never(outcome)


def name(outcome: Outcome) -> str:
    """`GuestExited` as `guest-exited`, for programs."""
    letters = type(outcome).__name__
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in letters).lstrip("-")


def post_mortem(result: Result | BootResult) -> list[str]:
    """Registers and last instructions of a guest that ended badly."""
    lines = []
    if result.history:
        *before, last = result.history
        lines += ["last instructions:", *(f"    {line}" for line in before), f"  > {last}"]
    if result.registers:
        lines += ["registers:", *(f"    {line}" for line in result.registers)]
    return lines


def notes(result: Result) -> list[str]:
    """How it came about, or what the guest was at: numbered where one follows from the other."""
    if isinstance(result.outcome, GuestDied) and len(result.notes) > 1:
        return ["how it came about:", *(f"    {n}. {note}" for n, note in enumerate(result.notes, 1))]
    return list(result.notes)


def _counted(result: Result | BootResult) -> str:
    if result.instructions is None:
        return f"instructions: the engine {result.engine} does not count them"
    rate = result.instructions / result.exec_seconds / 1e6 if result.exec_seconds else 0.0
    return f"instructions: {result.instructions:,} ({rate:,.1f} million/s)"


def statistics(result: Result) -> list[str]:
    """The figures of --stats."""
    exits = ", ".join(f"{kind} {count:,}" for kind, count in result.exits.items())
    return [
        _counted(result),
        f"time: {result.seconds:.3f} s, of them {result.exec_seconds:.3f} s in the guest",
        f"exits: {sum(result.exits.values()):,} ({exits})",
    ]


def as_dict(image: str, plan: Plan, result: Result, capture: Capture) -> dict[str, Any]:
    """The object that --json prints."""
    outcome = result.outcome
    return {
        "image": image,
        "kind": plan.kind.value,
        "mode": plan.mode.value,
        "engine": result.engine,
        "outcome": name(outcome),
        "reason": sentence(outcome),
        "exit_code": int(exit_code(outcome)),
        "guest_value": outcome.value if isinstance(outcome, GuestExited) else None,
        "instructions": result.instructions,
        "seconds": round(result.seconds, 6),
        "exec_seconds": round(result.exec_seconds, 6),
        "exits": dict(result.exits),
        "output": capture.data.decode("utf-8", "backslashreplace"),
        "output_bytes": capture.total_bytes,
        "output_truncated": capture.truncated,
        "screen": None if result.screen is None else list(result.screen),
        "notes": list(result.notes),
        "registers": list(result.registers),
        "history": list(result.history),
    }


def boot_dict(kernel: str, plan: Plan, result: BootResult, capture: Capture) -> dict[str, Any]:
    """The object that `hv boot --json` prints."""
    outcome = result.outcome
    return {
        "kernel": kernel,
        "kind": plan.kind.value,
        "command_line": plan.arguments,
        "engine": result.engine,
        "outcome": name(outcome),
        "reason": sentence(outcome),
        "exit_code": int(exit_code(outcome)),
        "guest_value": outcome.value if isinstance(outcome, GuestExited) else None,
        "instructions": result.instructions,
        "seconds": round(result.seconds, 6),
        "exec_seconds": round(result.exec_seconds, 6),
        "exits": dict(result.exits),
        "profile": [{"device": name, "exits": count, "seconds": s} for name, count, s in result.profile],
        "output": capture.data.decode("utf-8", "backslashreplace"),
        "output_bytes": capture.total_bytes,
        "output_truncated": capture.truncated,
        "registers": list(result.registers),
        "history": list(result.history),
    }


def _inside(result: BootResult) -> list[str]:
    """Where the processors' own time went, by the engine's counters."""
    if not result.inside:
        return []
    counters = result.inside
    idle, decode, miss = (counters.get(name, 0) / 1e9 for name in ("idle_ns", "decode_ns", "tlb_miss_ns"))
    rest = max(0.0, result.exec_seconds - decode - miss)
    return [
        f"  idle (HLT)      {idle:8.3f} s",
        f"  decoding        {decode:8.3f} s, {counters['blocks_decoded']:,} blocks",
        f"  TLB misses      {miss:8.3f} s, {counters['tlb_misses']:,} (time by samples)",
        f"  interpreting    {rest:8.3f} s",
    ]


def boot_profile(result: BootResult) -> list[str]:
    """The table of --profile."""
    exits = ", ".join(f"{kind} {count:,}" for kind, count in result.exits.items())
    lines = [
        f"time: {result.seconds:.3f} s; in the guest, all processors: {result.exec_seconds:.3f} s",
        _counted(result),
        f"exits: {sum(result.exits.values()):,} ({exits})",
        *_inside(result),
    ]
    if result.profile:
        lines.append(f"{'device':<24} {'exits':>10} {'seconds':>9} {'us each':>8}")
    for device, count, seconds in result.profile:
        lines.append(f"{device:<24} {count:>10,} {seconds:>9.3f} {seconds / count * 1e6:>8.1f}")
    return lines


def print_lines(lines: Iterable[str]) -> None:
    """On stderr."""
    for line in lines:
        print(line, file=sys.stderr)
