"""Guests of random bits, and guests with plausible but random descriptor tables: none may hang, crash or raise.

    python tests/fuzz/hostile.py SEED COUNT

Runs COUNT guests and prints how their runs ended. A budget ends every run, so a process that does not come back has
found a fault in the software CPU; so has a traceback.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from pyhv import BudgetSpent, Mapping, MmioFetch, MsrWrite, PortIn, Shutdown, Table, Unnamed, VCpu, VirtualMachine

CODE, GDT, IDT, STACK, PAGES = 0x3000, 0x8000, 0xA000, 0x7000, 0x80000
RAM_BYTES, RUNS, BUDGET = 1 << 20, 40, 2000
ENDS = (BudgetSpent, MmioFetch, Shutdown, Unnamed)
# INT, IRET, far transfers, segment loads, LLDT, LTR, POPF, SYSCALL and its kin, control and debug registers, HLT, STI …
SYSTEM = [
    bytes.fromhex(code)
    for code in (
        "cd20 cc cf 48cf cb 9a000000000800 ea000000001000 8ed0 8ed8 0f00d8 0f00d0 9d 0f05 0f07 0f34 0f35 ff1e0010 "
        "0f22d8 0f22c0 0f22e0 0f30 0f20c0 f4 fb 0f0b f1 ce 0f01f8 0f23f8 0f23c0"
    ).split()
]
RIGHTS = (0x9A, 0x92, 0xFA, 0xF2, 0x89, 0x8B, 0x81, 0x8C, 0x84, 0x85, 0x8E, 0x8F, 0xEE, 0xE5, 0xEC, 0x82, 0x9E, 0x96)
VALUES = (0, 1, 8, 0x10, 0x1B, 0x28, 0x33, 0x174, 0xC0000080, 0x80000001, 0x2000, 0xFFF8, 0xFFFFE)


def enter_mode(rng: random.Random, cpu: VCpu, ram: Mapping) -> None:
    """Real, protected or 64-bit mode, the last with one identity GiB and a page directory of random bits."""
    mode = rng.choice(("real", "protected", "long"))
    if mode == "protected":
        cpu.enter_protected()
    elif mode == "long":
        ram[PAGES : PAGES + 8] = (PAGES + 0x1000 | 7).to_bytes(8, "little")
        ram[PAGES + 0x1000 : PAGES + 0x1010] = (0x87).to_bytes(8, "little") + rng.randbytes(8)
        cpu.enter_long(PAGES)


def random_tables(rng: random.Random, cpu: VCpu, ram: Mapping) -> None:
    """A GDT and an IDT that look real, so that gates, tasks and privilege levels are reached."""
    ram[GDT : GDT + 0x1000] = rng.randbytes(0x1000)
    for n in range(64):
        rights, size = rng.choice((*RIGHTS, rng.getrandbits(8))), rng.choice((0xCF, 0xAF, 0x8F, 0, rng.getrandbits(8)))
        ram[GDT + 8 * n : GDT + 8 * n + 8] = bytes((0xFF, 0xFF, rng.choice((0, 16, 0x30)), 0, 0, rights, size, 0))
    for n in range(256):
        gate = bytes((0, 0x30, rng.choice((8, 16, 0x18, 0x2B)), 0, rng.choice((0, 1)), rng.choice(RIGHTS[-10:]), 0, 0))
        ram[IDT + 8 * n : IDT + 8 * n + 8] = gate
    ram[STACK - 0x1000 : STACK + 0x100] = bytes(
        rng.choice((0, 8, 0x1B, 0x30, 0x23)) if n % 4 == 0 else 0 for n in range(0x1100)
    )
    cpu.segments.gdtr, cpu.segments.idtr = Table(GDT, 0x7FF), Table(IDT, 0x7FF)


def one_guest(rng: random.Random, ends: Counter[str]) -> None:
    """Makes a guest and runs it until it is stuck or has run often enough."""
    with VirtualMachine(engine="soft") as vm, vm.vcpu() as cpu:
        ram = vm.map(at=0, size=RAM_BYTES)
        enter_mode(rng, cpu, ram)
        if rng.random() < 0.5:
            random_tables(rng, cpu, ram)
            ram[CODE : CODE + 0x1000] = b"".join(rng.choice(SYSTEM) for _ in range(5000))[:0x1000]
        else:
            ram[CODE : CODE + 0x1000] = rng.randbytes(0x1000)
        for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"):
            setattr(cpu.regs, name, rng.choice((*VALUES, rng.getrandbits(20), rng.getrandbits(64))))
        if rng.random() < 0.7:
            cpu.regs.rsp = STACK
        cpu.regs.rflags, cpu.regs.rip = rng.choice((2, 0x202, 0x3002, 0x4002, 0x102)), CODE + rng.randrange(0x100)
        for _ in range(RUNS):
            stopped = cpu.run(budget=BUDGET)
            ends[type(stopped).__name__] += 1
            if isinstance(stopped, ENDS):
                return
            if cpu.unanswered:
                answer_any(rng, cpu, stopped)


def answer_any(rng: random.Random, cpu: VCpu, stopped: object) -> None:
    """Some answer that fits."""
    match stopped:
        case MsrWrite():
            cpu.answer()
        case PortIn(size_bytes=size, count=count) if count > 1:
            cpu.answer(rng.randbytes(size * rng.randint(1, count)))
        case _:
            cpu.answer(rng.getrandbits(8))


def main(seed: int, count: int) -> None:
    """The program."""
    rng, ends = random.Random(seed), Counter[str]()
    for _ in range(count):
        one_guest(rng, ends)
    print(f"{count} guests of seed {seed}:", ", ".join(f"{name} {n}" for name, n in ends.most_common()))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
