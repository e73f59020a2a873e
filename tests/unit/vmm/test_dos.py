"""DOS services on a processor that is only registers: what a program gets for each INT."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyhv.vmm.bios.endings import UnknownCall, WouldBlock
from pyhv.vmm.bios.guest16 import Guest16
from pyhv.vmm.console import BytesSource, Capture, NoInput
from pyhv.vmm.dos import DosKernel, DosProgramEnded, Files, decode_interrupt

PSP, TOP = 0x100, 0xA000


class Segment(SimpleNamespace):
    def load_real(self, selector: int) -> None:
        self.selector, self.base = selector, selector << 4


class Waiting(NoInput):
    """A terminal where nobody has typed yet."""

    ended = False


class Machine:
    def __init__(self, typed: bytes = b"", root: Path | None = None, source: NoInput | None = None) -> None:
        names = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "rflags")
        regs = SimpleNamespace(**dict.fromkeys(names, 0))
        segments = SimpleNamespace(**{n: Segment(selector=PSP, base=PSP << 4) for n in ("cs", "ds", "es", "ss")})
        self.cpu = SimpleNamespace(regs=regs, segments=segments)
        self.memory = bytearray(1 << 20)
        self.sink = Capture()
        self.kernel = DosKernel(
            self.sink,
            source or BytesSource(typed),
            Files(root),
            psp=PSP,
            memory_end=TOP,
            now=lambda: datetime(2026, 11, 21, 13, 45, 59, 370_000),
        )
        self.kernel.install(self.memory)
        self.guest = Guest16(self.cpu, self.memory)
        self.guest.sp, self.guest.ip = 0xFFFE, 0x100

    def call(self, ax: int, vector: int = 0x21, **registers: int) -> Guest16:
        self.guest.ax = ax
        for name, value in registers.items():
            setattr(self.guest, name, value)
        self.kernel.interrupt(self.cpu, self.memory, vector, 2)
        return self.guest

    def put(self, offset: int, data: bytes) -> None:
        self.guest.write(self.guest.ds, offset, data)


# Console


def test_characters_and_strings() -> None:
    machine = Machine()
    machine.put(0x200, b"hello$rest")
    machine.call(0x0900, dx=0x200)
    machine.call(0x0200, dx=ord("!"))
    machine.call(0x0600, dx=ord("?"))
    machine.call(0x0E00 | ord("."), 0x10)
    machine.call(ord(";"), 0x29)
    assert machine.sink.data == b"hello!?.;"


def test_ip_is_after_the_int_and_other_registers_keep() -> None:
    machine = Machine()
    machine.cpu.regs.rbx = 0x1111222233334444
    guest = machine.call(0x0241, dx=ord("x"))
    assert (guest.ip, machine.cpu.regs.rbx, guest.ah) == (0x102, 0x1111222233334444, 2)


def test_input_with_and_without_echo() -> None:
    machine = Machine(b"ab\n")
    assert machine.call(0x0100).al == ord("a")
    assert machine.call(0x0800).al == ord("b")
    assert machine.call(0x0700).al == 0x0D
    assert machine.sink.data == b"a"
    assert machine.call(0x0700).al == 0x1A  # the end of the input


def test_input_that_is_not_there_yet_changes_nothing() -> None:
    machine = Machine(source=Waiting())
    with pytest.raises(WouldBlock):
        machine.call(0x0100)
    assert machine.guest.ip == 0x100


def test_direct_input_does_not_wait() -> None:
    machine = Machine(b"k")
    guest = machine.call(0x0600, dx=0xFF)
    assert (guest.al, guest.zero) == (ord("k"), False)
    machine = Machine(source=Waiting())
    assert machine.call(0x0600, dx=0xFF).zero


def test_a_line_is_edited_and_limited() -> None:
    machine = Machine(b"abX\x08cdef\n")
    machine.put(0x300, bytes((5, 0)))
    machine.call(0x0A00, dx=0x300)
    assert machine.guest.read(PSP, 0x301, 6) == b"\x04abcd\r"
    assert b"\a" in machine.sink.data


def test_keyboard_status_does_not_take_the_key() -> None:
    machine = Machine(b"q")
    assert machine.call(0x0100, 0x16).al == ord("q")
    assert machine.call(0x0000, 0x16).al == ord("q")
    machine = Machine(source=Waiting())
    assert machine.call(0x0100, 0x16).zero
    assert machine.call(0x0B00).al == 0


# The end


@pytest.mark.parametrize(("ax", "vector", "code"), [(0x4C07, 0x21, 7), (0x0055, 0x21, 0), (0, 0x20, 0)])
def test_programs_end(ax: int, vector: int, code: int) -> None:
    with pytest.raises(DosProgramEnded) as end:
        Machine().call(ax, vector)
    assert end.value.code == code


@pytest.mark.parametrize(("ax", "vector", "said"), [(0x9900, 0x21, "function 99h"), (0, 0x77, "INT 77h")])
def test_unknown_calls_are_named(ax: int, vector: int, said: str) -> None:
    with pytest.raises(UnknownCall, match=said):
        Machine().call(ax, vector)


# Files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (inside / "Hello.txt").write_bytes(b"0123456789")
    (inside / "sub" / "DEEP.DAT").write_bytes(b"deep")
    (inside / "a_long_name.text").write_bytes(b"")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    return inside


def opened(machine: Machine, name: bytes, access: int = 0) -> Guest16:
    machine.put(0x200, name + b"\0")
    return machine.call(0x3D00 | access, dx=0x200)


def test_open_read_seek_close(root: Path) -> None:
    machine = Machine(root=root)
    handle = opened(machine, b"C:\\HELLO.TXT").ax
    assert handle == 5
    assert machine.call(0x3F00, bx=handle, cx=4, dx=0x400).ax == 4
    guest = machine.call(0x4202, bx=handle, cx=0xFFFF, dx=0xFFFD)  # 3 before the end
    assert (guest.dx, guest.ax) == (0, 7)
    assert machine.call(0x3F00, bx=handle, cx=100, dx=0x404).ax == 3
    assert machine.guest.read(PSP, 0x400, 7) == b"0123789"
    assert not machine.call(0x3E00, bx=handle).carry
    assert machine.call(0x3F00, bx=handle, cx=1).ax == 6
    assert machine.guest.carry


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (b"NOTHERE.TXT", 2),
        (b"NODIR\\X.TXT", 3),
        (b"..\\SECRET.TXT", 3),
        (b"SUB\\..\\..\\SECRET.TXT", 3),
        (b"\\..\\SECRET.TXT", 3),
        (b"LINK.TXT", 3),
        (b"D:HELLO.TXT", 15),
        (b"SUB", 5),
    ],
)
def test_what_cannot_be_opened(root: Path, name: bytes, code: int) -> None:
    guest = opened(Machine(root=root), name)
    assert (guest.carry, guest.ax) == (True, code)


def test_subdirectories_and_slashes(root: Path) -> None:
    machine = Machine(root=root)
    assert not opened(machine, b"sub/deep.dat").carry
    machine.kernel.files.close_all()


@pytest.mark.parametrize("function", [0x3C, 0x41, 0x39, 0x3A, 0x56, 0x5B])
def test_nothing_can_be_changed(root: Path, function: int) -> None:
    machine = Machine(root=root)
    machine.put(0x200, b"HELLO.TXT\0")
    guest = machine.call(function << 8, dx=0x200)
    assert (guest.carry, guest.ax) == (True, 5)
    assert (root / "Hello.txt").read_bytes() == b"0123456789"


def test_writing_to_the_console_works_to_a_file_not(root: Path) -> None:
    machine = Machine(root=root)
    machine.put(0x300, b"text")
    assert machine.call(0x4000, bx=1, cx=4, dx=0x300).ax == 4
    assert machine.sink.data == b"text"
    handle = opened(machine, b"HELLO.TXT", access=2).ax
    assert machine.call(0x4000, bx=handle, cx=4, dx=0x300).ax == 5
    assert opened(machine, b"HELLO.TXT", access=1).ax == 5
    machine.kernel.files.close_all()


def test_too_many_files(root: Path) -> None:
    machine = Machine(root=root)
    for _ in range(15):
        assert not opened(machine, b"HELLO.TXT").carry
    assert opened(machine, b"HELLO.TXT").ax == 4
    machine.kernel.files.close_all()


def test_a_duplicate_shares_the_position(root: Path) -> None:
    machine = Machine(root=root)
    handle = opened(machine, b"HELLO.TXT").ax
    other = machine.call(0x4500, bx=handle).ax
    machine.call(0x3F00, bx=handle, cx=4, dx=0x400)
    machine.call(0x3E00, bx=handle)
    machine.call(0x3F00, bx=other, cx=1, dx=0x400)
    assert machine.guest.read(PSP, 0x400, 1) == b"4"
    machine.kernel.files.close_all()


def test_searching(root: Path) -> None:
    machine = Machine(root=root)
    machine.put(0x200, b"*.TXT\0")
    machine.call(0x1A00, dx=0x500)
    assert not machine.call(0x4E00, cx=0, dx=0x200).carry
    found = machine.guest.read(PSP, 0x500, 0x2B)
    assert found[0x1E:].rstrip(b"\0") == b"HELLO.TXT"
    assert int.from_bytes(found[0x1A:0x1E], "little") == 10
    guest = machine.call(0x4F00)
    assert (guest.carry, guest.ax) == (True, 18)


def test_console_lines_come_by_read(root: Path) -> None:
    machine = Machine(b"hi\n", root)
    guest = machine.call(0x3F00, bx=0, cx=80, dx=0x400)
    assert machine.guest.read(PSP, 0x400, guest.ax) == b"hi\r\n"
    assert machine.call(0x3F00, bx=0, cx=80, dx=0x400).ax == 0


# Memory, vectors, time


def test_memory_blocks() -> None:
    machine = Machine()
    guest = machine.call(0x4800, bx=0x10)
    assert (guest.carry, guest.ax, guest.bx) == (True, 8, 0)  # the program owns it all
    assert not machine.call(0x4A00, bx=0x1000).carry
    first = machine.call(0x4800, bx=0x100).ax
    second = machine.call(0x4800, bx=0x100).ax
    assert (first, second) == (PSP + 0x1000, PSP + 0x1100)
    machine.guest.es = first
    assert machine.call(0x4A00, bx=0x101).bx == 0x100
    machine.guest.es = first
    assert not machine.call(0x4900).carry
    assert machine.call(0x4800, bx=0x80).ax == first
    machine.guest.es = 0x4321
    assert machine.call(0x4900).ax == 9


def test_a_hooked_vector_runs_the_program_s_own_handler() -> None:
    machine = Machine()
    machine.call(0x2560, dx=0x345)
    guest = machine.call(0x3560)
    assert (guest.es, guest.bx) == (PSP, 0x345)
    guest.sp, guest.flags, guest.ip = 0xFFFE, 0x0202, 0x180
    machine.kernel.interrupt(machine.cpu, machine.memory, 0x60, 2)
    assert (guest.cs, guest.ip, guest.sp, guest.flags) == (PSP, 0x345, 0xFFF8, 0x0002)
    assert guest.read(guest.ss, 0xFFF8, 6) == (0x182).to_bytes(2, "little") + PSP.to_bytes(2, "little") + b"\x02\x02"


def test_date_time_and_version() -> None:
    machine = Machine()
    guest = machine.call(0x2A00)
    assert (guest.cx, guest.dh, guest.dl, guest.al) == (2026, 11, 21, 6)
    guest = machine.call(0x2C00)
    assert (guest.ch, guest.cl, guest.dh, guest.dl) == (13, 45, 59, 37)
    assert machine.call(0x3000).ax == 0x0005
    guest = machine.call(0x0200, 0x1A)
    assert (guest.ch, guest.cl, guest.dh) == (0x13, 0x45, 0x59)
    assert machine.call(0, 0x12).ax == 640


def test_memory_wraps_in_a_segment() -> None:
    machine = Machine()
    machine.guest.write(0x2000, 0xFFFE, b"abcd")
    assert (machine.memory[0x2FFFE:0x30000], machine.memory[0x20000:0x20002]) == (b"ab", b"cd")
    assert machine.guest.read(0x2000, 0xFFFE, 4) == b"abcd"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (b"\xcd\x21", (0x21, 2)),
        (b"\xcc\x90", (3, 1)),
        (b"\xce", (4, 1)),
        (b"\xf1", (1, 1)),
        (b"\xcd", None),
        (b"", None),
    ],
)
def test_interrupt_instructions(code: bytes, found: tuple[int, int] | None) -> None:
    assert decode_interrupt(code) == found
