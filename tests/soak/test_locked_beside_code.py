"""Locked accesses to a page that holds code are as atomic as any other; code that they change is the code that runs."""

from __future__ import annotations

import struct

import pytest

from pyhv import Halted, VCpu, VirtualMachine

from .storms import CODE, Threads, machine

ROUNDS = 60_000
WORD = CODE + 0xF00  # in the page of the code

# Each adds 1 to WORD in EBX's way, ROUNDS times: dec edx; jnz; hlt behind it.
ADDERS = {
    "lock inc": f"f0ff05{struct.pack('<I', WORD).hex()}",
    "lock xadd": f"b801000000 f00fc105{struct.pack('<I', WORD).hex()}",
    "lock cmpxchg": f"a1{struct.pack('<I', WORD).hex()} 8d4801 f00fb10d{struct.pack('<I', WORD).hex()} 75ee",
    # take the lock behind WORD by XCHG, add, and let go by a plain store
    "spinlock": f"b801000000 8705{struct.pack('<I', WORD + 8).hex()} 85c0 75f1"
    f" ff05{struct.pack('<I', WORD).hex()} c705{struct.pack('<I', WORD + 8).hex()}00000000",
    # eax, edx: what is there; ebx, ecx: one more; lock cmpxchg8b
    "lock cmpxchg8b": f"a1{struct.pack('<I', WORD).hex()} 8b15{struct.pack('<I', WORD + 4).hex()} 8d5801 89d1"
    f" f00fc70d{struct.pack('<I', WORD).hex()} 75e6",
}


def to_the_halt(cpu: VCpu) -> None:
    stopped = cpu.run()
    assert stopped == Halted(), stopped


@pytest.mark.parametrize("way", ADDERS)
def test_no_addition_is_lost(way: str) -> None:
    body = bytes.fromhex(ADDERS[way])
    program = body + bytes.fromhex("4d 0f85") + struct.pack("<i", -len(body) - 7) + b"\xf4"  # dec ebp; jnz; hlt
    with machine(program, 2) as (vm, cpus):
        threads = Threads()
        for cpu in cpus:
            cpu.regs.rbp = ROUNDS
            threads.start(to_the_halt, cpu)
        threads.join()
        assert int.from_bytes(vm.read(WORD, 4), "little") == 2 * ROUNDS


@pytest.mark.parametrize(("code", "eax"), [("f0803508100000 08", 0xFFFF_FFFF), ("b048 860508100000", 0x3F)])
def test_code_that_it_changes_runs_as_changed(code: str, eax: int) -> None:
    """The next instruction is INC EAX, and becomes DEC EAX. XCHG leaves the INC in AL."""
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=0x2000)
        program = bytes.fromhex(code)
        assert len(program) == 8
        ram[CODE : CODE + 10] = program + b"\x40\xf4"
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            for _ in range(3):
                ram[CODE + 8] = 0x40
                cpu.regs.rip, cpu.regs.rax = CODE, 0
                assert cpu.run() == Halted()
                assert cpu.regs.eax == eax
