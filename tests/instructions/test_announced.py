"""What CPUID announces by default: x86-64-v2, and what goes beyond it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyhv import default_cpuid

EBX, ECX, EDX = 3, 4, 5
# By the names of the x86-64 psABI, "Micro-Architecture Levels", and of /proc/cpuinfo where the host has to have it too.
LEVEL_2 = {
    (1, EDX): {"fpu": 0, "cmov": 15, "cx8": 8, "fxsr": 24, "mmx": 23, "sse": 25, "sse2": 26},
    (1, ECX): {"cx16": 13, "popcnt": 23, "pni": 0, "ssse3": 9, "sse4_1": 19, "sse4_2": 20},
    (0x8000_0001, ECX): {"lahf_lm": 0},
    (0x8000_0001, EDX): {"syscall": 11},
}
OURS = {(1, ECX): {"xsave": 26, "rdrand": 30}, (7, EBX): {"rdseed": 18, "adx": 19, "clflushopt": 23, "clwb": 24}}
RUN_ON_THE_HOST = {"fpu", "mmx", "sse", "sse2", "pni", "ssse3", "sse4_1", "sse4_2"}


def announced(leaf: int, register: int) -> int:
    return next(row[register] for row in default_cpuid() if row[:2] == (leaf, 0))


def host_has(name: str) -> bool:
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    return name in flags.split()


@pytest.mark.parametrize("words", [LEVEL_2, OURS], ids=["level-2", "ours"])
def test_what_runs_is_announced(words: dict[tuple[int, int], dict[str, int]]) -> None:
    for (leaf, register), bits in words.items():
        word = announced(leaf, register)
        for name, bit in bits.items():
            assert word >> bit & 1 == (name not in RUN_ON_THE_HOST or host_has(name)), name


def test_osxsave_is_not_the_tables_to_tell() -> None:
    """CPUID.1:ECX bit 27 shows CR4.OSXSAVE, which is clear after a reset."""
    assert not announced(1, ECX) >> 27 & 1
