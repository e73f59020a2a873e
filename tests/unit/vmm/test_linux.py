"""Linux kernel images: the plan, the page of boot parameters, and an error for whatever is wrong with the file."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from pyhv import Halted, VirtualMachine
from pyhv.vmm.loaders import linux, load
from pyhv.vmm.plan import ImageError, Kind, Mode
from pyhv.vmm.start import place, start

from .images import Linux

GOOD = Linux()
MEMTEST = Path("/boot/memtest86+x64.bin")


def test_the_protected_part_goes_to_1_mib() -> None:
    plan = load(bytes(GOOD), arguments="quiet")
    (segment,) = plan.segments
    assert (plan.kind, plan.mode, plan.entry) == (Kind.LINUX, Mode.PROTECTED, 0x10_0000)
    assert (segment.gpa, segment.data, segment.size_bytes) == (0x10_0000, GOOD.code, 0x8000)


def test_an_image_with_an_efi_stub_starts_with_mz() -> None:
    assert load(b"MZ" + bytes(GOOD)[2:]).kind is Kind.LINUX


def test_a_relocatable_kernel_goes_where_it_prefers() -> None:
    assert load(bytes(replace(GOOD, relocatable=1, preferred=0x100_0000))).entry == 0x100_0000
    assert load(bytes(replace(GOOD, relocatable=0, preferred=0x100_0000))).entry == 0x10_0000


def test_the_64_bit_entry_is_taken_for_long_mode() -> None:
    plan = load(bytes(GOOD), mode=Mode.LONG)
    assert (plan.mode, plan.entry) == (Mode.LONG, 0x10_0200)


def test_setup_sectors_0_means_4() -> None:
    image = bytearray(bytes(replace(GOOD, setup_sectors=4)))
    image[0x1F1] = 0
    assert load(bytes(image)).segments[0].data == GOOD.code


def test_an_old_protocol_says_nothing_of_size_and_entry() -> None:
    image = bytes(replace(GOOD, version=0x0202, relocatable=1, preferred=0x100_0000))
    plan = load(image)
    assert (plan.entry, plan.segments[0].data, plan.segments[0].size_bytes) == (0x10_0000, GOOD.code, 0x400)
    with pytest.raises(ImageError, match="no 64-bit entry"):
        load(image, mode=Mode.LONG)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (bytes(GOOD)[:0x220], {}, "truncated: 544 bytes end inside its setup header"),
        (bytes(GOOD)[:0x400], {}, "truncated: 1024 bytes, and its header speaks of 2048"),
        (bytes(GOOD)[:-100], {}, "truncated: 1948 bytes, and its header speaks of 2048"),
        (bytes(replace(GOOD, code=b"", protected_bytes=0)), {}, "truncated: 1024 bytes"),
        (bytes(replace(GOOD, boot_flag=0)), {}, "damaged: no boot flag"),
        (bytes(replace(GOOD, version=0x0201)), {}, "boot protocol 2.01; 2.02 or newer would do"),
        (bytes(replace(GOOD, load_flags=0)), {}, "a zImage"),
        (bytes(replace(GOOD, relocatable=1, preferred=1 << 40)), {}, "not below 4 GiB"),
        (bytes(GOOD), {"mode": Mode.REAL}, "leave out --mode real"),
        (bytes(replace(GOOD, has_entry_64=0)), {"mode": Mode.LONG}, "no 64-bit entry"),
        (bytes(GOOD), {"entry": 0x10_0000}, "leave out --entry"),
        (bytes(GOOD), {"arguments": "x" * 256}, "256 bytes; it takes 255"),
        (bytes(replace(GOOD, command_line_max=1 << 30)), {"arguments": "x" * 4096}, "it takes 4095"),
    ],
)
def test_what_is_wrong_is_said(image: bytes, options: dict[str, object], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load(image, **options)  # type: ignore[arg-type]


def test_cut_anywhere_it_is_an_image_error() -> None:
    whole = bytes(GOOD)
    for size in range(0x206, len(whole) - 15, 7):  # the header counts in units of 16
        with pytest.raises(ImageError):
            load(whole[:size])


def test_boot_parameters() -> None:
    header = linux.parse(bytes(GOOD)).raw
    page = linux.boot_parameters(header, 64 << 20, 2 << 30, 0x9000, "root=1")
    assert page[0x1F1 : 0x1F1 + len(header) - 1].startswith(b"\x01")
    assert page[0x202:0x206] == b"HdrS"
    (line,) = struct.unpack_from("<I", page, 0x228)
    assert page[line - 0x9000 :] == b"root=1\0"
    assert (page[0x06], page[0x07], page[0x0E], page[0x0F], page[0x210]) == (3, 80, 25, 1, 0xFF)
    memory = [struct.unpack_from("<QQI", page, 0x2D0 + 20 * n) for n in range(page[0x1E8])]
    assert memory == [
        (0, 0x9FC00, 1),
        (0x9FC00, 0x60400, 2),
        (0x100000, 63 << 20, 1),
        (1 << 32, 2 << 30, 1),
    ]


@pytest.mark.parametrize("mode", [Mode.PROTECTED, Mode.LONG])
def test_it_starts_as_the_protocol_says(mode: Mode) -> None:
    """Linux, boot.rst, "32-bit Boot Protocol": CS 10h, the others 18h, ESI at the parameters, EBX EBP EDI 0."""
    # the selectors must be in the table that came with them
    code = bytearray(b"\x8e\xd8\x8e\xd0\xf4".ljust(0x400, b"\xf4"))  # mov ds, eax · mov ss, eax · hlt
    code[0x200:0x205] = code[0:5]
    plan = load(bytes(Linux(code=bytes(code))), mode=mode, arguments="hello")
    with VirtualMachine("soft") as vm, vm.vcpu() as cpu:
        placed = place(plan, vm, 16 << 20)
        start(plan, vm, cpu, 16 << 20)
        segments = cpu.segments
        assert (segments.cs.selector, segments.ds.selector, segments.ss.selector) == (0x10, 0x18, 0x18)
        assert (cpu.regs.rbx, cpu.regs.rbp, cpu.regs.rdi, cpu.regs.rflags.if_) == (0, 0, 0, 0)
        parameters = vm.read(cpu.regs.rsi, 0x2000)
        (line,) = struct.unpack_from("<I", parameters, 0x228)
        assert vm.read(line, 6) == b"hello\0"
        cpu.regs.rax = 0x18
        assert cpu.run() == Halted()
        assert segments.ds.limit == 0xFFFF_FFFF
        del placed


@pytest.mark.skipif(not MEMTEST.exists(), reason="Debian's memtest86+ is not installed")
def test_memtest86_is_such_an_image() -> None:
    plan = load(MEMTEST.read_bytes())
    assert (plan.kind, plan.entry, len(plan.setup_header)) == (Kind.LINUX, 0x10_0000, 0x77)
