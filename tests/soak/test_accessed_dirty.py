"""Several vCPUs mark the same page-table entries that a further one changes: no change and no mark is lost.

Intel SDM vol. 3, "Accessed and Dirty Flags": processors set them with locked operations.
"""

from __future__ import annotations

import struct

import pytest

from pyhv import Halted, VCpu, VirtualMachine

from .storms import Threads

WALKER, READER, KERNEL = 0x1000, 0x2000, 0x3000
ROOT, PAGE_TABLE, FRAMES = 0x4000, 0x8000, 0x10_0000
WINDOW, PAGES = 0x20_0000, 16
ACCESSED, DIRTY = 0x20, 0x40
COUNTER_SHIFT, COUNTER_BITS = 52, 11  # bits that paging ignores
# mov cr3, rax · mov esi, WINDOW · next: inc qword [rsi + rbx] · add esi, 0x1000 · cmp esi, its end · jne next ·
# dec ecx · jne to the start · hlt
WRITES = bytes.fromhex("0f22d8 be00002000 48ff041e 81c600100000 81fe00002100 75ee ffc9 75e2 f4")
READS = WRITES.replace(bytes.fromhex("48ff041e"), bytes.fromhex("488b141e"))
# mov edi, PAGE_TABLE · next: lock add [rdi], rbx · lock and [rdi], r8 · add edi, 8 · cmp edi, its end · jne next ·
# dec ecx · jne to the start · hlt
CHANGES = bytes.fromhex("bf00800000 f048011f f04c2107 83c708 81ff80800000 75ed ffc9 75e4 f4")


def start(vm: VirtualMachine, at: int, rounds: int, rbx: int) -> VCpu:
    cpu = vm.vcpu()
    cpu.enter_long(ROOT)
    cpu.regs.rip, cpu.regs.rcx, cpu.regs.rbx, cpu.regs.rax = at, rounds, rbx, ROOT
    cpu.regs.r8 = ~(ACCESSED | DIRTY) & (1 << 64) - 1
    return cpu


def entries(vm: VirtualMachine) -> tuple[int, ...]:
    return struct.unpack(f"<{PAGES}Q", vm.read(PAGE_TABLE, 8 * PAGES))


def race(rounds: int) -> None:
    """At most 2047 rounds: the counter of an entry ends below its bit 63."""
    with VirtualMachine("soft") as vm:
        vm.map(at=0, size=2 << 20)
        for at, code in ((WALKER, WRITES), (READER, READS), (KERNEL, CHANGES)):
            vm.write(at, code)
        for at, entry in ((ROOT, 0x5003), (0x5000, 0x6003), (0x6000, 0x83), (0x6008, PAGE_TABLE | 3)):
            vm.write(at, struct.pack("<Q", entry))
        vm.write(PAGE_TABLE, struct.pack(f"<{PAGES}Q", *(FRAMES + 0x1000 * n | 3 for n in range(PAGES))))
        changer = start(vm, KERNEL, rounds, 1 << COUNTER_SHIFT)
        writers = [start(vm, WALKER, rounds, 8 * n) for n in range(2)]
        threads = Threads()

        def to_its_end(cpu: VCpu) -> None:
            assert cpu.run() == Halted()

        for cpu in (changer, *writers, start(vm, READER, rounds, 0)):
            threads.start(to_its_end, cpu)
        threads.join()
        for n, entry in enumerate(entries(vm)):
            assert entry >> COUNTER_SHIFT & (1 << COUNTER_BITS) - 1 == rounds % (1 << COUNTER_BITS), f"entry {n}"
            counts = struct.unpack("<2Q", vm.read(FRAMES + 0x1000 * n, 16))
            assert counts == (rounds, rounds), f"page {n} lost a store"
        writer, reader = writers[0], start(vm, READER, 1, 0)
        for cpu, marks in ((reader, ACCESSED), (writer, ACCESSED | DIRTY)):
            vm.write(PAGE_TABLE, struct.pack(f"<{PAGES}Q", *(entry & ~(ACCESSED | DIRTY) for entry in entries(vm))))
            cpu.regs.rip, cpu.regs.rcx = (READER if cpu is reader else WALKER), 1
            assert cpu.run() == Halted()
            assert {entry & (ACCESSED | DIRTY) for entry in entries(vm)} == {marks}


def test_no_change_of_an_entry_is_lost() -> None:
    race(2000)


@pytest.mark.slow
def test_no_change_of_an_entry_is_lost_for_long() -> None:
    for _ in range(40):
        race(2000)
