"""The machine of machine.py, ready to run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyhv import Segment, VirtualMachine

from .machine import CODE, GDT, IDT, LDT, LOCAL, TASK, TSS, Machine, fill_tables


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
