"""The machine of machine.py, ready to run."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyhv import Segment, VirtualMachine
from pyhv.testing.guest import identity_tables

from .machine import (
    CODE,
    CODE64,
    GDT,
    HANDLERS,
    IDT,
    LDT,
    LOCAL,
    STACK0,
    STACK1,
    STACK_IST,
    TABLES,
    TASK,
    TSS,
    Machine,
    fill_tables,
    long_gate,
)


@pytest.fixture(scope="session")
def assemble(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int, int], bytes]:
    """`assemble(text, at, bits)`: GNU as, Intel syntax; the bytes."""
    if not shutil.which("as"):
        pytest.fail("these tests assemble guests: install binutils")
    folder = tmp_path_factory.mktemp("assembled")
    known: dict[tuple[str, int, int], bytes] = {}

    def make(text: str, at: int, bits: int) -> bytes:
        key = (text, at, bits)
        if key not in known:
            source, thing, binary = folder / "x.S", folder / "x.o", folder / "x.bin"
            source.write_text(f".intel_syntax noprefix\n.code{bits}\n" + text.replace(";", "\n") + "\n")
            emulation, flag = ("elf_x86_64", "--64") if bits == 64 else ("elf_i386", "--32")
            link = ["ld", "-m", emulation, f"-Ttext={at:#x}", "-e", "0", "--oformat", "binary", "-o", binary, thing]
            for command in (["as", flag, "-o", thing, source], link):
                done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{text}\n{done.stderr}"
            known[key] = Path(binary).read_bytes()
        return known[key]

    return make


@pytest.fixture
def machine(assemble: Callable[[str, int, int], bytes]) -> Iterator[Machine]:
    """Level 0, tables loaded, RIP at `CODE`, the present task at `TSS`."""
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=1 << 20)
        with vm.vcpu() as cpu:
            made = Machine(vm, ram, cpu, assemble)
            fill_tables(made)
            cpu.enter_protected()
            made.at_level(0)
            cpu.segments.gdtr.base, cpu.segments.gdtr.limit = GDT, 0xFF
            cpu.segments.idtr.base, cpu.segments.idtr.limit = IDT, 0x7FF
            cpu.segments.tr.set(Segment(TASK, TSS, 0x67, 0x8B))
            cpu.segments.ldtr.set(Segment(LOCAL, LDT, 0xF, 0x82))
            cpu.regs.rip = CODE
            yield made


@pytest.fixture
def long_machine(machine: Machine) -> Machine:
    """64-bit mode at level 0, user pages, a handler of 64-bit code for every vector."""
    cr3 = identity_tables(machine.ram, TABLES)
    for at in range(TABLES, TABLES + 0x8000, 8):
        (entry,) = struct.unpack("<Q", bytes(machine.ram[at : at + 8]))
        if entry & 1:
            machine.put(at, struct.pack("<Q", entry | 4))
    for number in range(256):
        machine.put(IDT + 16 * number, long_gate(CODE64, HANDLERS + 16 * number, 14, 3))
    machine.put(TSS, struct.pack("<IQQQQQQ", 0, STACK0, STACK1, 0, 0, STACK_IST, 0) + bytes(0x34))
    machine.cpu.enter_long(cr3)
    machine.cpu.segments.gdtr.base, machine.cpu.segments.gdtr.limit = GDT, 0xFF
    machine.cpu.segments.idtr.base, machine.cpu.segments.idtr.limit = IDT, 0xFFF
    machine.cpu.segments.tr.set(Segment(TASK, TSS, 0x67, 0x8B))
    machine.cpu.segments.cs.selector = CODE64
    machine.cpu.regs.rip = CODE
    return machine
