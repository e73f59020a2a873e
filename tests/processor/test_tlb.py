"""What must be forgotten, and what may be kept. SDM vol. 3, "Invalidation of TLBs and Paging-Structure Caches"."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .machine import CODE, DATA, TABLES, Guest, guest

PGE, PCIDE = 1 << 7, 1 << 17
WINDOW, TABLE, FRAMES, FAR = 0x20_0000, 0x14000, (0x30000, 0x31000), 0x40_0000
GLOBAL, LARGE, FULL = 0x100, 0x80, 0x67  # accessed and dirty already
DESCRIPTOR = DATA  # of INVPCID

LOAD = "488b0425 00002000"  # mov rax, [WINDOW]
STORE = "48893c25 00400100"  # mov [TABLE], rdi
AGAIN = "488b1425 00002000 f4"  # mov rdx, [WINDOW]; hlt
INVLPG = "0f013c25 08002000"
MOV_CR3 = "0f22d9"  # mov cr3, rcx
TOGGLE_PGE = "410f20e0 4981f080000000 410f22e0 4981f080000000 410f22e0"  # in r8


def invpcid(kind: int) -> str:
    """mov ebx, kind; invpcid rbx, [DESCRIPTOR]"""
    return f"bb{kind.to_bytes(4, 'little').hex()} 660f38821c25 00300000"


@contextmanager
def window(flags: int = 0, cr4: int = 0) -> Iterator[Guest]:
    """A page at WINDOW that shows the first frame; RDI has the entry for the second, RCX the present CR3."""
    with guest() as g:
        g.ram[TABLES + 0x2008 : TABLES + 0x2010] = struct.pack("<Q", TABLE | FULL)
        g.ram[TABLE : TABLE + 8] = struct.pack("<Q", FRAMES[0] | FULL | flags)
        for n, frame in enumerate(FRAMES):
            g.ram[frame : frame + 8] = struct.pack("<Q", n + 1)
        g.cpu.regs.cr4 |= cr4
        g.cpu.regs.rdi = FRAMES[1] | FULL | flags
        g.cpu.regs.rcx = TABLES
        yield g


def seen(g: Guest, forget: str) -> int:
    """What the window shows behind a change of its entry and `forget`: 1 the old frame, 2 the new one."""
    g.load(LOAD + STORE + forget + AGAIN)
    g.cpu.run(budget=100)
    assert g.cpu.regs.rax == 1
    return int(g.cpu.regs.rdx)


@pytest.mark.parametrize(
    ("forget", "is_global", "want"),
    [
        (INVLPG, False, 2),
        (INVLPG, True, 2),
        (MOV_CR3, False, 2),
        (MOV_CR3, True, 1),
        (TOGGLE_PGE, False, 2),
        (TOGGLE_PGE, True, 2),
        (invpcid(0), False, 2),
        (invpcid(1), False, 2),
        (invpcid(1), True, 1),
        (invpcid(2), True, 2),
        (invpcid(3), False, 2),
        (invpcid(3), True, 1),
    ],
)
def test_what_is_forgotten(forget: str, is_global: bool, want: int) -> None:
    with window(GLOBAL if is_global else 0, PGE) as g:
        g.ram[DESCRIPTOR : DESCRIPTOR + 16] = struct.pack("<QQ", 0, WINDOW + 8)
        assert seen(g, forget) == want


def test_without_pge_the_global_bit_means_nothing() -> None:
    with window(GLOBAL) as g:
        assert seen(g, MOV_CR3) == 2


def test_another_pcid_is_another_address_space() -> None:
    with window(0, PCIDE) as g:
        g.cpu.regs.rcx = TABLES | 5
        assert seen(g, MOV_CR3) == 2
        assert g.cpu.regs.cr3 == TABLES | 5


def test_bit_63_is_not_kept() -> None:
    with window(0, PCIDE) as g:
        g.load(MOV_CR3 + "f4")
        g.cpu.regs.rcx = TABLES | 1 << 63
        g.cpu.run()
        assert g.cpu.regs.cr3 == TABLES


@pytest.mark.judges("INVLPG")
def test_invlpg_forgets_all_of_a_large_page() -> None:
    with window() as g:
        far = g.cpu.vm.map(at=FAR, size=0x20_0000)
        for offset in (0, 0x5000):
            far[offset : offset + 8] = struct.pack("<Q", 2)
            g.ram[WINDOW + offset : WINDOW + offset + 8] = struct.pack("<Q", 1)
        entry = TABLES + 0x2008
        g.ram[entry : entry + 8] = struct.pack("<Q", WINDOW | FULL | LARGE)
        g.cpu.regs.rdi = FAR | FULL | LARGE
        # mov rax, [WINDOW]; mov rbx, [WINDOW + 5000]; mov [entry], rdi; invlpg [WINDOW + 9000]; both again; hlt
        g.load(
            LOAD
            + "488b1c25 00502000"
            + "48893c25 08200100"
            + "0f013c25 00902000"
            + "488b1425 00002000 488b3425 00502000 f4"
        )
        g.cpu.run()
        regs = g.cpu.regs
        assert (regs.rax, regs.rbx, regs.rdx, regs.rsi) == (1, 1, 2, 2)


def test_a_switch_of_address_space_keeps_global_code_and_costs_little() -> None:
    with window(GLOBAL, PGE) as g:
        g.ram[TABLES + 0x2000 : TABLES + 0x2008] = struct.pack("<Q", FULL | LARGE | GLOBAL)
        g.load("0f22d9 488b0425 00002000 48ffce 75f0 f4")  # mov cr3, rcx; mov rax, [WINDOW]; dec rsi; jnz
        g.cpu.regs.rsi = 1000
        g.cpu.run()
        assert g.cpu.regs.rip == CODE + 17
        assert g.cpu.stats()["tlb_misses"] < 2100, "a look-up of code a switch and its kin, no walk for the data"
