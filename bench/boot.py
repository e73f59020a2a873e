"""`python -m bench.boot`: from the start of `hv boot` to the first line of BusyBox's init, beside QEMU's.

The same kernel and initramfs, one after the other, on the same machine. QEMU is `qemu-system-x86_64 -accel tcg -M
microvm` (Debian: qemu-system-x86); where it is not installed its line is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from pyhv.vmm.debian import DebianGuest, debian_guest
from pyhv.vmm.debian.initramfs import READY

LIMIT_SECONDS = 300
PROMISED_RATIO = 8.0


def hv_command(engine: str) -> list[str]:
    return [sys.executable, "-m", "pyhv.cli", "boot", "--kernel", "debian", "--engine", engine]


def qemu_command(guest: DebianGuest) -> list[str]:
    machine = "-accel tcg -M microvm,acpi=off -cpu max -m 256M -display none -serial stdio -no-reboot -nodefaults"
    files = ["-kernel", str(guest.kernel), "-initrd", str(guest.initrd), "-append", guest.command_line]
    return ["qemu-system-x86_64", *machine.split(), *files]


def seconds_to_ready(command: Sequence[str]) -> float:
    """Wall clock from the start of the command until it has printed the line. Raises RuntimeError if it never does."""
    began, seen = time.monotonic(), b""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout
        try:
            while READY.encode() not in seen:
                left = began + LIMIT_SECONDS - time.monotonic()
                readable = select.select([process.stdout], [], [], max(left, 0))[0]
                data = os.read(process.stdout.fileno(), 65536) if readable else b""
                if not data:
                    raise RuntimeError(f"{command[0]}: no {READY!r}; its last words: {seen[-500:]!r}")
                seen += data
            return time.monotonic() - began
        finally:
            process.kill()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="soft")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help=f"exit 1 beyond {PROMISED_RATIO:g} times QEMU's time")
    asked = parser.parse_args()
    commands = {"hv": hv_command(asked.engine)}
    if shutil.which("qemu-system-x86_64"):
        commands["qemu"] = qemu_command(debian_guest(say=lambda text: print(text, file=sys.stderr)))
    best: dict[str, float] = {}
    for _ in range(asked.rounds):
        for name, command in commands.items():
            best[name] = min(best.get(name, LIMIT_SECONDS), seconds_to_ready(command))
    ratio = best["hv"] / best["qemu"] if "qemu" in best else None
    if asked.json:
        print(json.dumps({"seconds": best, "ratio": ratio}))
    else:
        for name, seconds in best.items():
            print(f"boot.{name:<6} {seconds:8.2f} s")
        print(f"ratio       {ratio:8.2f}" if ratio else "ratio       qemu-system-x86_64 is not installed")
    return int(asked.check and (ratio is None or ratio > PROMISED_RATIO))


if __name__ == "__main__":
    raise SystemExit(main())
