"""What the first x87 instruction of a process asks the host must not reach the guest: a process for each case."""

from __future__ import annotations

import subprocess
import sys

ROUND_DOWN = 0x077F
# FLDCW [0x2000]; FLD1; FLD1; FCOMI ST, ST(1); FSUBP: 1 - 1 is -0 when rounding down.
PROGRAM = """
from pyhv import VirtualMachine
with VirtualMachine("soft") as vm:
    ram = vm.map(at=0, size=0x10000)
    with vm.vcpu() as cpu:
        cpu.enter_protected()
        code = bytes.fromhex("d92d00200000 d9e8 d9e8 BETWEEN dee9 dd1d08200000 f4")
        ram[0x1000 : 0x1000 + len(code)] = code
        ram[0x2000:0x2002] = (CONTROL).to_bytes(2, "little")
        cpu.regs.rip = 0x1000
        cpu.run()
        print(bytes(ram[0x2008:0x2010]).hex())
"""
NEGATIVE_ZERO, ZERO = "0000000000000080", "0000000000000000"
FCOMI, FNOP = "dbf1", "d9d0"


def difference(between: str, control: int) -> str:
    program = PROGRAM.replace("BETWEEN", between).replace("CONTROL", str(control))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_guest_s_rounding_outlives_what_the_host_is_asked() -> None:
    assert difference(FNOP, ROUND_DOWN) == NEGATIVE_ZERO
    assert difference(FCOMI, ROUND_DOWN) == NEGATIVE_ZERO
    assert difference(FCOMI, 0x037F) == ZERO
