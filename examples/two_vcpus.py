"""Two processors of one machine, a thread each, count in the same word of memory: LOCK keeps every one of the counts.

Without LOCK (`python two_vcpus.py --unlocked`) counts get lost when both run at the same time.
"""

from __future__ import annotations

import sys
from threading import Thread

from pyhv import Halted, VCpu, VirtualMachine

COUNTER = 0x2000
ROUNDS = 1_000_000
LOCK = 0xF0, 0x90  # the prefix, and a NOP in its place

# mov ecx,ROUNDS / L: lock inc dword [COUNTER] / dec ecx / jnz L / hlt
CODE = "66b9{rounds} {lock}66ff060020 6649 75f6 f4"


def program(locked: bool) -> bytes:
    """The loop, in real mode."""
    return bytes.fromhex(CODE.format(rounds=ROUNDS.to_bytes(4, "little").hex(), lock=f"{LOCK[not locked]:02x}"))


def count(cpu: VCpu) -> None:
    """Run one processor to its HLT."""
    exit_ = cpu.run()
    assert isinstance(exit_, Halted), exit_


def main(locked: bool) -> int:
    """Returns the final count."""
    with VirtualMachine() as vm:
        ram = vm.map(at=0, size=0x10000)
        code = program(locked)
        ram[0x100 : 0x100 + len(code)] = code
        cpus = [vm.vcpu() for _ in range(2)]
        for cpu in cpus:
            cpu.regs.rip = 0x100
        threads = [Thread(target=count, args=(cpu,)) for cpu in cpus]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return int.from_bytes(ram[COUNTER : COUNTER + 4], "little")


if __name__ == "__main__":
    total = main("--unlocked" not in sys.argv)
    print(f"two processors counted to {total:,} of {2 * ROUNDS:,}")
