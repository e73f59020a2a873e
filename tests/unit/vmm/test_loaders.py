"""Loaders: bytes in, a plan out; damaged and foreign files get an error that names what is wrong."""

from __future__ import annotations

import struct

import pytest

from pyhv.vmm.loaders import load
from pyhv.vmm.loaders.multiboot import information
from pyhv.vmm.plan import ImageError, Kind, Mode, Window

from .images import EM_386, EM_AARCH64, ET_CORE, ET_DYN, ET_REL, PT_INTERP, Elf, Load, multiboot_header

BOOT = bytes(510) + b"\x55\xaa"
FIRMWARE = bytes(0x1FFF0) + b"\xea\x5b\xe0\x00\xf0" + bytes(11)

# Flat


def test_flat_bytes_go_to_0x1000_in_real_mode() -> None:
    plan = load(b"\xf4")
    assert (plan.kind, plan.mode, plan.entry, plan.code_base) == (Kind.FLAT, Mode.REAL, 0x1000, 0)
    assert [(s.gpa, s.data) for s in plan.segments] == [(0x1000, b"\xf4")]


def test_a_boot_sector_goes_to_0x7c00_with_the_drive_in_dl() -> None:
    plan = load(BOOT)
    assert (plan.kind, plan.entry, plan.registers["rdx"]) == (Kind.BOOT_SECTOR, 0x7C00, 0x80)


@pytest.mark.parametrize("image", [BOOT[1:], BOOT + b"\0", bytes(512)])
def test_other_sizes_and_signatures_are_no_boot_sector(image: bytes) -> None:
    assert load(image).entry == 0x1000


def test_load_and_entry_and_mode_can_be_chosen() -> None:
    plan = load(BOOT, load_at=0x20_0000, entry=0x20_0010, mode=Mode.LONG)
    assert (plan.kind, plan.entry, plan.mode) == (Kind.FLAT, 0x20_0010, Mode.LONG)


def test_load_takes_any_bytes_as_flat() -> None:
    assert load(bytes(Elf()), load_at=0x8000).kind is Kind.FLAT


def test_real_mode_code_above_64_kib_gets_a_code_segment() -> None:
    plan = load(b"\xf4" * 32, load_at=0x2_0000, entry=0x2_0015)
    assert (plan.code_base, plan.entry) == (0x2_0010, 0x2_0015)


@pytest.mark.parametrize("entry", [0xFFF, 0x1001, 1 << 40])
def test_an_entry_outside_the_image_is_refused(entry: int) -> None:
    with pytest.raises(ImageError, match="not inside the image, which lies at 0x1000 to 0x1001"):
        load(b"\xf4", entry=entry)


def test_real_mode_above_1_mib_is_refused() -> None:
    with pytest.raises(ImageError, match="choose --mode protected or long"):
        load(b"\xf4", load_at=0x10_0000)


def test_nothing_is_refused() -> None:
    with pytest.raises(ImageError, match="empty"):
        load(b"")


# DOS


def test_a_com_program_has_a_prefix_with_its_arguments() -> None:
    plan = load(b"\xc3", "HELLO.COM", arguments="a b")
    prefix = next(s.data for s in plan.segments if s.gpa == 0x1000)
    assert (plan.kind, plan.entry, plan.code_base, plan.registers["rsp"]) == (Kind.DOS, 0x1100, 0x1000, 0xFFFE)
    assert prefix[:2] == b"\xcd\x20"
    assert prefix[0x80:0x86] == b"\x04 a b\r"
    environment = next(s for s in plan.segments if s.gpa == struct.unpack_from("<H", prefix, 0x2C)[0] << 4)
    assert b"COMSPEC=" in environment.data
    assert environment.end <= 0x1000


def test_a_com_program_is_told_by_its_name_only() -> None:
    assert load(b"\xc3", "hello.bin").kind is Kind.FLAT


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (0xFF00, {}, "at most 65024 bytes; this file has 65280"),
        (1, {"mode": Mode.LONG}, "leave out --mode"),
        (1, {"arguments": "x" * 126}, "at most 125 characters"),
    ],
)
def test_what_cannot_be_a_com_program(size: int, options: dict[str, object], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load(b"\x90" * size, "x.com", **options)  # type: ignore[arg-type]


# ELF


def test_a_64_bit_executable_starts_in_long_mode() -> None:
    plan = load(bytes(Elf(loads=[Load(0x100000, b"code"), Load(0x200000, b"data", memsz=0x5000)])))
    assert (plan.kind, plan.mode, plan.entry, plan.windows) == (Kind.ELF, Mode.LONG, 0x100000, ())
    assert [(s.gpa, s.data, s.end) for s in plan.segments] == [
        (0x100000, b"code", 0x100004),
        (0x200000, b"data", 0x205000),
    ]


def test_a_32_bit_executable_starts_in_protected_mode() -> None:
    plan = load(bytes(Elf(32, EM_386)))
    assert (plan.mode, plan.entry) == (Mode.PROTECTED, 0x100000)


def test_a_high_half_kernel_gets_windows_where_it_is_linked() -> None:
    high = 0xFFFFFFFF80000000
    plan = load(bytes(Elf(entry=high + 0x100010, loads=[Load(high + 0x100000, b"x" * 32, paddr=0x100000)])))
    assert plan.entry == high + 0x100010
    assert plan.windows == (Window(high + 0x100000, 0x100000, 0x1000),)


def test_a_high_half_32_bit_kernel_starts_where_it_is_loaded() -> None:
    loads = [Load(0xC0100000, b"x" * 32, paddr=0x100000)]
    assert load(bytes(Elf(32, EM_386, entry=0xC0100010, loads=loads))).entry == 0x100010


@pytest.mark.parametrize(
    ("elf", "message"),
    [
        (Elf(machine=EM_AARCH64), "64-bit Arm; only x86 guests"),
        (Elf(32, EM_386, big_endian=True), "only x86 guests"),
        (Elf(32), "x32 ABI"),
        (Elf(kind=ET_REL), "not linked yet"),
        (Elf(kind=ET_DYN), "link with -static -no-pie"),
        (Elf(kind=ET_CORE), "core dump"),
        (Elf(loads=[Load(0x100000), Load(0, b"/lib/ld.so\0", kind=PT_INTERP)]), "dynamic linker"),
        (Elf(loads=[]), "loads nothing"),
        (Elf(entry=0x5000), "entry 0x5000 is in none of the segments"),
        (Elf(loads=[Load(0x100000, b"x", filesz=0x1000)]), "truncated"),
        (Elf(loads=[Load(0x100000, b"xyz", memsz=2)]), "damaged: a segment of 2 bytes has 3"),
        (Elf(loads=[Load(0x100000, paddr=0x200800)]), "agree modulo 4096"),
    ],
)
def test_elf_files_that_cannot_run(elf: Elf, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load(bytes(elf))


def test_every_truncation_of_an_elf_file_is_an_image_error() -> None:
    whole = bytes(Elf(loads=[Load(0x100000, b"x" * 64)]))
    for size in range(4, len(whole)):
        with pytest.raises(ImageError):
            load(whole[:size])


def test_no_single_byte_of_an_elf_header_gives_anything_but_a_plan_or_an_image_error() -> None:
    whole = bytearray(bytes(Elf()))
    for at in range(4, 64 + 56):
        for value in (0x00, 0x7F, 0xFF):
            image = bytes(whole[:at]) + bytes([value]) + bytes(whole[at + 1 :])
            try:
                load(image)
            except ImageError as error:
                assert str(error)


def test_a_mode_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageError, match="for long mode"):
        load(bytes(Elf()), mode=Mode.REAL)


# Multiboot


def kernel(flags: int = 3) -> bytes:
    return bytes(Elf(32, EM_386, entry=0x10000C, loads=[Load(0x100000, multiboot_header(flags) + b"\xf4" * 8)]))


def test_a_multiboot_kernel_gets_the_magic_and_wants_information() -> None:
    plan = load(kernel(), arguments="quiet")
    assert (plan.kind, plan.mode, plan.entry) == (Kind.MULTIBOOT, Mode.PROTECTED, 0x10000C)
    assert plan.registers["rax"] == 0x2BADB002
    assert plan.wants_info
    assert plan.arguments == "quiet"


def test_a_64_bit_elf_with_a_multiboot_header_starts_by_multiboot_unless_long_mode_is_asked() -> None:
    image = bytes(Elf(entry=0x10000C, loads=[Load(0x100000, multiboot_header() + b"\xf4" * 8)]))
    assert load(image).kind is Kind.MULTIBOOT
    assert load(image, mode=Mode.LONG).kind is Kind.ELF


def test_the_address_fields_place_a_file_that_is_not_elf() -> None:
    header = multiboot_header(1 << 16, 0x100010, 0x100000, 0x100040, 0x100100, 0x100030)
    image = b"\x90" * 0x20 + header + b"\xf4" * 0x40
    plan = load(image)
    (segment,) = plan.segments
    assert (segment.gpa, segment.end, plan.entry) == (0x100000, 0x100100, 0x100030)
    assert segment.data == image[0x10:0x50]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (multiboot_header(3) + bytes(64), "no load addresses"),
        (kernel(1 << 5), "demands features 0x20"),
        (multiboot_header(1 << 16), "cut off"),
        (multiboot_header(1 << 16, 0x100000, 0x100000, 0x101000, 0, 0x100000), "truncated: it wants 4096 bytes"),
        (multiboot_header(1 << 16, 0x100000, 0x0F0000, 0, 0, 0x100000), "before the file begins"),
    ],
)
def test_multiboot_images_that_cannot_run(image: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load(image)


def test_a_wrong_checksum_is_no_multiboot_header() -> None:
    image = bytearray(multiboot_header(1 << 16, 0x100000, 0x100000, 0, 0, 0x100000))
    image[8] ^= 1
    assert load(bytes(image)).kind is Kind.FLAT


def test_the_information_block() -> None:
    block = information(64 << 20, 0, 0x9000, "root=1")
    flags, lower, upper = struct.unpack_from("<3I", block, 0)
    (line,) = struct.unpack_from("<I", block, 16)
    size, at = struct.unpack_from("<2I", block, 44)
    assert (flags, lower, upper) == (1 | 4 | 64 | 512, 640, 63 * 1024)
    assert block[line - 0x9000 :].startswith(b"root=1\0")
    ranges = [struct.unpack_from("<IQQI", block, at - 0x9000 + i) for i in range(0, size, 24)]
    assert ranges == [(20, 0, 0xA0000, 1), (20, 0xF0000, 0x10000, 2), (20, 0x100000, 63 << 20, 1)]


# Firmware


def test_firmware_ends_at_4_gib_and_at_1_mib() -> None:
    plan = load(FIRMWARE)
    rom, low = plan.segments
    assert (plan.kind, rom.rom, low.rom) == (Kind.FIRMWARE, True, False)
    assert (rom.end, low.end, low.gpa) == (1 << 32, 1 << 20, 0xE0000)
    assert (plan.entry, plan.code_base) == (0xFFFFFFF0, 0xFFFF0000)


def test_only_the_last_256_kib_of_big_firmware_are_copied_low() -> None:
    rom, low = load(bytes(0x40000) + FIRMWARE).segments
    assert (len(rom.data), len(low.data), low.gpa) == (0x60000, 0x40000, 0xC0000)


def test_64_kib_without_a_reset_vector_are_flat() -> None:
    assert load(bytes(0x10000)).kind is Kind.FLAT


# Foreign files


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"MZ" + bytes(0x3E), r"a DOS \.EXE program"),
        (b"MZ" + bytes(0x3A) + b"\x40\0\0\0PE\0\0", "a Windows or EFI program"),
        (b"\xcf\xfa\xed\xfe" + bytes(28), "Mach-O"),
        (b"\x1f\x8b\x08" + bytes(20), "gunzip"),
        (b"#!/bin/sh\n", "a script"),
        (b"!<arch>\nxxx", "static library"),
    ],
)
def test_foreign_files_are_named(image: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load(image, "x.com")
