"""`make run`: Debian's SeaBIOS and a 64-bit program of our own on the software CPU, and what happened, in a few lines.

Exits 0 when the firmware printed its banner and the program found everything right, else 1.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HV = ROOT / ".venv" / "bin" / "hv"
SHOWN_LINES = 30


@dataclass(frozen=True, slots=True)
class Demo:
    """One guest. It succeeded when its output has `expect` and, where given, the exit code is `exit_code`."""

    title: str
    image: Path
    options: tuple[str, ...]
    expect: str
    exit_code: int | None = None


DEMOS = (
    Demo(
        "Debian's SeaBIOS, unmodified, from the package: real mode, then 32-bit protected mode",
        Path("/usr/share/seabios/bios.bin"),
        ("--timeout", "120", "--until", "No bootable device"),
        "SeaBIOS (version",
    ),
    Demo(
        "a 64-bit program of our own (examples/guests/tour.c): paging, CPUID, a page fault, SHA-256",
        ROOT / "examples" / "guests" / "build" / "tour.elf",
        ("--timeout", "120"),
        "",
        exit_code=1,
    ),
)


def run(demo: Demo) -> dict[str, Any] | None:
    """The result as `hv run --json` gives it; None when there is none, after the command has said why."""
    command = [str(HV), "run", str(demo.image), "--engine", "soft", "--json", *demo.options]
    shown = " ".join(command[1:]).replace(f"{ROOT}/", "")
    print(f"\n\033[1m{demo.title}\033[0m\n$ hv {shown}", flush=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False)
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        print(f"  hv ended with {done.returncode} and gave no result")
        return None
    return result


def tell(demo: Demo, result: dict[str, Any]) -> bool:
    """Prints what the guest said and how it ended; whether that is what it should be."""
    lines = result.get("output", "").replace("\r", "").splitlines()
    for line in lines[:SHOWN_LINES]:
        print(f"  | {line}")
    if len(lines) > SHOWN_LINES:
        print(f"  | … {len(lines) - SHOWN_LINES} more lines")
    if "instructions" in result:
        rate = result["instructions"] / max(result["exec_seconds"], 1e-9) / 1e6
        exits = sum(result["exits"].values())
        print(f"  {result['instructions']:,} instructions, {exits:,} exits, {result['seconds']:.1f} s ({rate:.0f} M/s)")
    print(f"  how it ended: {result['reason']} (exit code {result['exit_code']})")
    right = demo.expect in result.get("output", "") and demo.exit_code in (None, result["exit_code"])
    if not right:
        wanted = f"output with {demo.expect!r}" if demo.expect else f"exit code {demo.exit_code}"
        print(f"  that is not what should happen: expected {wanted}")
    return right


def main() -> int:
    """The command."""
    passed = 0
    for demo in DEMOS:
        result = run(demo)
        passed += result is not None and tell(demo, result)
    print(f"\n{passed} of {len(DEMOS)} guests did what they should.")
    return int(passed < len(DEMOS))


if __name__ == "__main__":
    raise SystemExit(main())
