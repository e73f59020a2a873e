"""`make run`: Debian's SeaBIOS, memtest86+ and kernel and a program of our own on the software CPU, and what happened.

Exits 0 when the firmware printed its banner, the memory test got to its third test without errors, the program found
everything right, and Debian came to its shell; else 1. Debian's kernel is fetched once; where that cannot be (no apt,
no network) it is left out, and said so.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyhv.vmm.debian import cache_folder
from pyhv.vmm.debian.guest import MANIFEST

ROOT = Path(__file__).resolve().parent.parent
HV = ROOT / ".venv" / "bin" / "hv"
SHOWN_LINES = 30


@dataclass(frozen=True, slots=True)
class Demo:
    """One guest. It succeeded when what it showed has all of `expect` and the exit code is `exit_code`, if given.

    `fetched`: it comes from the network, so that it may not be there.
    """

    title: str
    command: tuple[str, ...]
    options: tuple[str, ...]
    expect: tuple[str, ...]
    exit_code: int | None = None
    fetched: bool = False


DEMOS = (
    Demo(
        "Debian's SeaBIOS, unmodified, from the package: real mode, then 32-bit protected mode",
        ("run", "/usr/share/seabios/bios.bin"),
        ("--timeout", "120", "--until", "No bootable device"),
        ("SeaBIOS (version",),
    ),
    Demo(
        "Debian's memtest86+, unmodified: 64-bit mode by the Linux boot protocol, on the text screen",
        ("run", "/boot/memtest86+x64.bin"),
        ("--memory", "16M", "--screen", "text", "--timeout", "120", "--until", "Test #3", "nosmp"),
        ("Memtest86+", "Test #3", "Errors: 0"),
        exit_code=0,
    ),
    Demo(
        "a 64-bit program of our own (examples/guests/tour.c): paging, CPUID, a page fault, SHA-256",
        ("run", str(ROOT / "examples" / "guests" / "build" / "tour.elf")),
        ("--timeout", "120"),
        (),
        exit_code=1,
    ),
    Demo(
        "Debian's kernel, unmodified, on two processors, to a BusyBox shell",
        ("boot", "--kernel", "debian"),
        ("--cpus", "2", "--timeout", "300", "--until", "pyhv# "),
        ("Linux version", "BusyBox", "2 CPU(s)"),
        exit_code=0,
        fetched=True,
    ),
)


def run(demo: Demo) -> dict[str, Any] | None:
    """The result as `hv run --json` gives it; None when there is none, after the command has said why."""
    command = [str(HV), *demo.command, "--engine", "soft", "--json", *demo.options]
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
    lines = [*result.get("output", "").replace("\r", "").splitlines(), *_picture(result.get("screen") or ())]
    first, last = lines[: SHOWN_LINES // 2], lines[SHOWN_LINES // 2 :][-SHOWN_LINES // 2 :]
    between = len(lines) - len(first) - len(last)
    for line in [*first, *([f"… {between} more lines"] if between else []), *last]:
        print(f"  | {line}")
    if "instructions" in result:
        rate = result["instructions"] / max(result["exec_seconds"], 1e-9) / 1e6
        exits = sum(result["exits"].values())
        print(f"  {result['instructions']:,} instructions, {exits:,} exits, {result['seconds']:.1f} s ({rate:.0f} M/s)")
    print(f"  how it ended: {result['reason']} (exit code {result['exit_code']})")
    missing = [text for text in demo.expect if not any(text in line for line in lines)]
    if demo.exit_code not in (None, result["exit_code"]):
        missing.append(f"exit code {demo.exit_code}")
    if missing:
        print(f"  that is not what should happen: missing {', '.join(missing)}")
    return not missing


def _picture(lines: Sequence[str]) -> list[str]:
    """The rows of a text screen that have something on them."""
    return [line for line in lines if line.strip()]


def _fetched() -> bool:
    """Whether Debian's kernel is in the cache: then there is no excuse."""
    return (cache_folder() / MANIFEST).exists()


def main() -> int:
    """The command."""
    passed = tried = 0
    for demo in DEMOS:
        result = run(demo)
        if demo.fetched and result is not None and result["outcome"] == "error" and not _fetched():
            print(f"  left out: {result['reason']}")
            continue
        tried += 1
        passed += result is not None and tell(demo, result)
    print(f"\n{passed} of {tried} guests did what they should.")
    return int(passed < tried)


if __name__ == "__main__":
    raise SystemExit(main())
