"""The kernel's structs and records, without a VM."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from struct import pack_into

import pytest

from pyhv import (
    Halted,
    InterruptWindow,
    MmioLoad,
    MmioStore,
    MonitorTrap,
    MsrRead,
    MsrWrite,
    PortIn,
    PortOut,
    PortOutMany,
    Shutdown,
    Unnamed,
)
from pyhv.addresses import GPA
from pyhv.engines.kvm import abi, exits
from pyhv.engines.kvm.abi import Why
from pyhv.engines.kvm.exits import exit_of
from pyhv.engines.kvm.msr_filter import packed
from pyhv.exits import Exit

STRUCTS = {
    "kvm_userspace_memory_region": abi.USER_MEMORY_REGION.size,
    "kvm_regs": abi.REGS.size,
    "kvm_segment": abi.SEGMENT.size,
    "kvm_dtable": abi.TABLE.size,
    "kvm_sregs2": abi.SREGS2.size,
    "kvm_cpuid_entry2": abi.CPUID_ENTRY.size,
    "kvm_debugregs": abi.DEBUGREGS.size,
    "kvm_xcrs": abi.XCRS_BYTES,
    "kvm_xsave": abi.XSAVE_BYTES,
    "kvm_vcpu_events": abi.EVENTS.size,
    "kvm_guest_debug": abi.GUEST_DEBUG.size,
    "kvm_enable_cap": abi.ENABLE_CAP.size,
    "kvm_msr_filter": abi.MSR_FILTER_BYTES,
}


def test_numbers_and_sizes_are_the_kernels_headers(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if not compiler or not Path("/usr/include/linux/kvm.h").exists():
        pytest.skip("needs a C compiler and the kernel's headers (linux-libc-dev)")
    numbers = {f"KVM_{one.name}": int(one) for one in abi.Ioctl}
    numbers |= {f"KVM_EXIT_{one.name}": int(one) for one in Why}
    numbers |= {f"KVM_CAP_{one.name}": int(one) for one in abi.Cap}
    rows = [f'printf("{name} %lu\\n", (unsigned long){name});' for name in numbers]
    rows += [f'printf("{name} %zu\\n", sizeof(struct {name}));' for name in STRUCTS]
    source, program = tmp_path / "x.c", tmp_path / "x"
    source.write_text("#include <linux/kvm.h>\n#include <stdio.h>\nint main(void) {" + "\n".join(rows) + "}\n")
    subprocess.run([compiler, "-o", program, source], check=True)
    said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    theirs = {name: int(number) for name, number in (line.split() for line in said.splitlines())}
    assert theirs == numbers | STRUCTS


def _run(reason: int, layout: str = "", *values: int) -> bytearray:
    run = bytearray(4096)
    pack_into("<I", run, abi.REASON_AT, reason)
    if layout:
        pack_into(layout, run, abi.UNION_AT, *values)
    run[2048:2053] = b"hello"
    return run


RECORDS: list[tuple[bytearray, Exit]] = [
    (_run(Why.IO, abi.IO.format, 0, 2, 0x60, 1, 2048), PortIn(0x60, 2, 1)),
    (_run(Why.IO, abi.IO.format, 1, 1, 0x3F8, 1, 2048), PortOut(0x3F8, 1, ord("h"))),
    (_run(Why.IO, abi.IO.format, 1, 1, 0x3F8, 5, 2048), PortOutMany(0x3F8, 1, b"hello")),
    (_run(Why.MMIO, abi.MMIO.format, 0x2_0010, 0, 4, 0), MmioLoad(GPA(0x2_0010), 4)),
    (_run(Why.MMIO, abi.MMIO.format, 0x2_0010, 0xFFFF_1234, 2, 1), MmioStore(GPA(0x2_0010), 2, 0x1234)),
    (_run(Why.HLT), Halted()),
    (_run(Why.SHUTDOWN), Shutdown()),
    (_run(Why.IRQ_WINDOW_OPEN), InterruptWindow()),
    (_run(Why.X86_RDMSR, abi.MSR.format, 0, 2, 0x1234, 0), MsrRead(0x1234)),
    (_run(Why.X86_WRMSR, abi.MSR.format, 0, 2, 0x1234, 7), MsrWrite(0x1234, 7)),
    (_run(Why.DEBUG, abi.DEBUG_EXIT.format, 1, 0, 0x1000, 1 << 14, 0x400), MonitorTrap()),
    (_run(24, "<QQ", 5, 6), Unnamed({"kvm_exit_reason": 24, "detail": 5, "more": 6})),
]


@pytest.mark.parametrize(("run", "expected"), RECORDS, ids=[type(expected).__name__ for _, expected in RECORDS])
def test_a_record_is_an_exit(run: bytearray, expected: Exit) -> None:
    assert exit_of(run) == expected


def test_an_exit_that_came_before_is_told_by_its_own_bytes() -> None:
    """Equal exits may be one object; what differs in port, size, direction or data is another."""
    word = 2048
    for _ in range(2):
        for value in (0, 0x41, 0xFF):
            run = _run(Why.IO, abi.IO.format, 1, 1, 0x70, 1, word)
            run[word] = value
            assert exit_of(run) == PortOut(0x70, 1, value)
        run = _run(Why.IO, abi.IO.format, 1, 4, 0x70, 1, word)
        assert exit_of(run) == PortOut(0x70, 4, int.from_bytes(b"hell", "little"))
        assert exit_of(_run(Why.IO, abi.IO.format, 0, 1, 0x70, 1, word)) == PortIn(0x70, 1, 1)
        assert exit_of(_run(Why.IO, abi.IO.format, 0, 1, 0x70, 3, word)) == PortIn(0x70, 1, 3)
        for size in (1, 2, 8):
            assert exit_of(_run(Why.MMIO, abi.MMIO.format, 0x3000, 0, size, 0)) == MmioLoad(GPA(0x3000), size)


def test_a_guest_that_uses_all_ports_fills_no_memory() -> None:
    for number in range(5000):
        if number < 1000:
            assert exit_of(_run(Why.IO, abi.IO.format, 1, 1, number, 1, 2048)) == PortOut(number, 1, ord("h"))
        assert exit_of(_run(Why.MMIO, abi.MMIO.format, number, 0, 1, 0)) == MmioLoad(GPA(number), 1)
    assert len(exits._ports) <= 256
    assert len(exits._loads) <= 4096


def test_chosen_msrs_are_packed_in_few_ranges() -> None:
    choice = random.Random(3)
    starts = [0, 0xC000_0000, 0xC001_0000]
    chosen = {choice.choice(starts) + choice.randrange(0x1100) for _ in range(400)} | {0x4B56_4D00}
    ranges = packed(chosen)
    assert len(ranges) == 4  # 0, KVM's own, and the two beginning with 0xC000 that lie too far apart for one
    left = set()
    for first, count, bitmap in ranges:
        assert len(bitmap) % 8 == 0 and len(bitmap) <= 0x600
        assert count <= 8 * len(bitmap)
        left |= {first + n for n in range(count) if not bitmap[n // 8] >> n % 8 & 1}
    assert left == chosen
    assert packed([]) == []
