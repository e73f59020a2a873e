"""The DOS emulator of examples/dos, in C++ over libHypervisor: what programs print, their exit codes, their files."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FAILED = 125
SECONDS = 120

Assemble = Callable[[str, int, int], bytes]

TOOLS = """
show:                           # AX as four digits and a space. All registers stay
        pushf; pusha
        mov cx, 4
1:      rol ax, 4
        push ax
        and al, 15
        cmp al, 10
        sbb al, 0x69
        das
        mov dl, al
        mov ah, 2
        int 0x21
        pop ax
        loop 1b
        mov dl, ' '
        mov ah, 2
        int 0x21
        popa; popf
        ret
failed:                         # the code of an error
        call show
        mov ax, 0x4c63
        int 0x21
print:                          # DX, up to $
        push ax
        mov ah, 9
        int 0x21
        pop ax
        ret
"""
END = "mov ax, 0x4c00; int 0x21"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The emulator, built by its Makefile."""
    folder = tmp_path_factory.mktemp("dos")
    command = ["make", "-j2", "-C", str(EXAMPLES / "dos"), f"BUILD={folder}", f"HV={sys.executable} -m pyhv.cli"]
    made = subprocess.run([*command, "CXXFLAGS=-O0"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""
    return folder / "dos"


@dataclass
class Dos:
    """A folder that is drive C:, and the emulator on it."""

    emulator: Path
    folder: Path
    assemble: Assemble

    def run(self, program: str | Path, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program, in an empty environment but for the time zone."""
        zone = {"TZ": os.environ["TZ"]} if "TZ" in os.environ else {}
        command = [str(self.emulator), "-c", str(self.folder), str(self.folder / program), *arguments]
        return subprocess.run(
            command, input=input, capture_output=True, text=True, timeout=SECONDS, check=False, env=zone
        )

    def com(self, text: str, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        """Assemble and run a .COM program."""
        (self.folder / "PROGRAM.COM").write_bytes(self.assemble(text + TOOLS, 0x100, 16))
        return self.run("PROGRAM.COM", *arguments, input=input)

    def prints(self, text: str, *arguments: str, input: str = "") -> str:
        """What a program prints that ends with 0 and upsets nobody."""
        done = self.com(text, *arguments, input=input)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout


@pytest.fixture
def dos(emulator: Path, tmp_path: Path, assemble: Assemble) -> Dos:
    return Dos(emulator, tmp_path, assemble)


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The DOS programs of examples/guests."""
    folder = tmp_path_factory.mktemp("guests")
    targets = [f"{folder}/hello.com", f"{folder}/type.com"]
    command = ["make", "-C", str(EXAMPLES / "guests"), f"BUILD={folder}", *targets]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return folder


# Programs as a whole.


def test_the_programs_of_the_examples(dos: Dos, guests: Path) -> None:
    done = dos.run(guests / "hello.com", "one", "two", input="Ada\n")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == "A .COM program runs on DOS 5.0\nArguments: one two\nWhat is your name? Ada\nHello, Ada!\n"
    (dos.folder / "note.txt").write_text("a note\n")
    assert dos.run(guests / "type.com", "NOTE.TXT").stdout == "a note\n"
    done = dos.run(guests / "type.com", "NONE.TXT")
    assert (done.returncode, done.stdout) == (1, "cannot open the file\n")


@pytest.mark.parametrize(
    ("end", "code"),
    [("ret", 0), ("int 0x20", 0), ("mov ah, 0; int 0x21", 0), ("mov ax, 0x4c2a; int 0x21", 42)],
)
def test_each_way_to_end(dos: Dos, end: str, code: int) -> None:
    assert dos.com(end).returncode == code


def test_the_prefix(dos: Dos) -> None:
    text = """
        mov ax, [2]; call show                  # the end of memory
        mov ah, 0x62; int 0x21                  # the prefix
        mov ax, bx; mov dx, cs; sub ax, dx; call show
        mov al, [0x80]; mov ah, 0; call show    # the tail
        mov cx, ax; mov dx, 0x81; mov bx, 1; mov ah, 0x40; int 0x21
        mov al, [0x80]; mov bx, ax; mov al, [bx + 0x81]; mov ah, 0; call show
        mov es, [0x2c]; xor di, di; xor al, al  # behind the environment's strings is the program's name
    1:  mov cx, -1; repne scasb; cmp es:[di], al; jne 1b
        add di, 3; push es; pop ds
    2:  mov dl, [di]; inc di; test dl, dl; je 3f; mov ah, 2; int 0x21; jmp 2b
    3:  push cs; pop ds; ret
    """
    # AH is 40h's 0, and shows as the count that was written
    assert dos.prints(text, "a", "bc") == "A000 0000 0005  a bc000D C:\\PROGRAM.COM"


def test_an_exe_with_relocations(dos: Dos) -> None:
    code = dos.assemble(
        """
        .byte 0xb8; .word 2             # mov ax, the data's segment: 2 paragraphs behind the start, relocated
        mov ds, ax
        mov dx, 0
        mov ah, 9
        int 0x21
        push ss; pop ax; push cs; pop bx; sub ax, bx
        mov ah, 0x4c
        int 0x21
        """,
        0,
        16,
    )
    module = code.ljust(0x20, b"\0") + b"from another segment$"
    (dos.folder / "TWO.EXE").write_bytes(exe(module, [(0, 1)], ss=4, sp=0x100))
    done = dos.run("TWO.EXE")
    assert (done.returncode, done.stdout, done.stderr) == (4, "from another segment", "")


def exe(module: bytes, relocations: list[tuple[int, int]], *, ss: int, sp: int, least: int = 0x20) -> bytes:
    """An .EXE whose first byte is its first instruction. Relocations are segment and offset."""
    table = b"".join(struct.pack("<HH", offset, segment) for segment, offset in relocations)
    head_paragraphs = (28 + len(table) + 15) // 16
    size = head_paragraphs * 16 + len(module)
    sizes = (size % 512, (size + 511) // 512, len(relocations), head_paragraphs, least, 0xFFFF)
    head = struct.pack("<2s13H", b"MZ", *sizes, ss, sp, 0, 0, 0, 28, 0)
    return (head + table).ljust(head_paragraphs * 16, b"\0") + module


def test_programs_that_are_none(dos: Dos) -> None:
    good = exe(b"\xc3" * 600, [(0, 1)], ss=0x40, sp=0x100)
    cases = {
        "CUT.EXE": (good[:500], "its header says more than there is"),
        "SHORT.EXE": (b"MZ\0", "its header is cut off"),
        "FAR.EXE": (exe(b"\xc3" * 8, [(0, 7)], ss=1, sp=0x100), "a relocation lies beyond the program"),
        "LARGE.EXE": (exe(b"\xc3", [], ss=1, sp=0x100, least=0xFFF0), "more memory than there is"),
        "LONG.COM": (bytes(65000), ""),
        "LONGER.COM": (bytes(65300), "at most 65278 bytes"),
    }
    for name, (image, words) in cases.items():
        (dos.folder / name).write_bytes(image)
        if words:
            done = dos.run(name)
            assert done.returncode == FAILED, name
            assert words in done.stderr
    done = dos.run("NONE.COM")
    assert (done.returncode, "cannot be read" in done.stderr) == (FAILED, True)
    assert subprocess.run([dos.emulator], capture_output=True, check=False).returncode == FAILED


# Files.

FILES = f"""
        mov dx, offset name; xor cx, cx; mov ah, 0x3c; int 0x21; jc failed      # create
        mov bx, ax; call show
        mov dx, offset text; mov cx, 11; mov ah, 0x40; int 0x21; jc failed; call show
        mov ah, 0x3e; int 0x21; jc failed                                        # close
        mov dx, offset name; mov ax, 0x3d02; int 0x21; jc failed; mov bx, ax     # open for both
        mov ax, 0x4202; mov cx, -1; mov dx, -5; int 0x21; jc failed; call show   # 5 before the end
        mov dx, offset buffer; mov cx, 100; mov ah, 0x3f; int 0x21; jc failed; call show
        mov dx, offset buffer; call print
        mov ax, 0x4200; xor cx, cx; mov dx, 2; int 0x21
        mov dx, offset text; mov cx, 3; mov ah, 0x40; int 0x21                   # over what is there
        mov ax, 0x4201; xor cx, cx; xor dx, dx; int 0x21; call show              # where am I
        mov ax, 0x4200; xor cx, cx; mov dx, 8; int 0x21
        xor cx, cx; mov ah, 0x40; int 0x21; jc failed                            # cut here
        mov ah, 0x3e; int 0x21
        mov ah, 0x3e; int 0x21; call show                                        # closed already
        {END}
name:   .asciz "Made.txt"
text:   .ascii "hello files"
buffer: .fill 100, 1, '$'
"""


def test_a_file_is_made_read_and_written(dos: Dos) -> None:
    assert dos.prints(FILES) == "0005 000B 0006 0005 files0005 0006 "
    assert (dos.folder / "MADE.TXT").read_bytes() == b"hehel fi"


def test_errors_have_their_codes(dos: Dos) -> None:
    (dos.folder / "sub").mkdir()
    (dos.folder / "READ.TXT").write_text("x")
    calls = [
        ("mov dx, offset none; mov ax, 0x3d00", "0002"),
        ("mov dx, offset nowhere; mov ax, 0x3d00", "0003"),
        ("mov dx, offset other; mov ax, 0x3d00", "000F"),
        ("mov dx, offset file; mov ax, 0x3d07", "0001"),
        ("mov dx, offset folder; mov ax, 0x3d00", "0005"),
        ("mov dx, offset file; mov ah, 0x5b; xor cx, cx", "0050"),
        ("mov dx, offset bad; mov ah, 0x3c; xor cx, cx", "0002"),
        ("mov bx, 77; mov ah, 0x3f; mov cx, 1", "0006"),
        ("mov bx, 9; mov ah, 0x3e", "0006"),
        ("mov dx, offset none; mov ah, 0x41", "0002"),
        ("mov dx, offset none; mov ah, 0x4e; xor cx, cx", "0012"),
        ("mov es, ax; mov bx, 1; mov ah, 0x4a", "0009"),
        ("mov ah, 0x49; mov bx, 0x1234; mov es, bx", "0009"),
    ]
    text = "".join(f"{setup}; int 0x21; jnc wrong; call show\n" for setup, _ in calls)
    names = """
        wrong: mov ax, 0x4c62; int 0x21
        none: .asciz "NONE.TXT"
        nowhere: .asciz "NOWHERE\\\\X.TXT"
        other: .asciz "D:X.TXT"
        file: .asciz "read.txt"
        folder: .asciz "SUB"
        bad: .asciz "TOOLONGANAME.TXT"
    """
    assert dos.prints(text + END + names) == "".join(f"{code} " for _, code in calls)


def test_there_are_twenty_handles(dos: Dos) -> None:
    (dos.folder / "ONE.TXT").write_text("1")
    text = f"""
        xor si, si
    1:  mov dx, offset name; mov ax, 0x3d00; int 0x21; jc 2f; inc si; jmp 1b
    2:  call show; mov ax, si; call show
        {END}
        name: .asciz "ONE.TXT"
    """
    assert dos.prints(text) == "0004 000F "


def test_folders(dos: Dos) -> None:
    text = f"""
        mov dx, offset folder; mov ah, 0x39; int 0x21; jc failed
        mov dx, offset folder; mov ah, 0x3b; int 0x21; jc failed
        mov si, offset where; xor dl, dl; mov ah, 0x47; int 0x21; jc failed
        mov si, offset where
    1:  lodsb; test al, al; je 2f; mov dl, al; mov ah, 2; int 0x21; jmp 1b
    2:  mov dl, ' '; mov ah, 2; int 0x21
        mov dx, offset file; xor cx, cx; mov ah, 0x3c; int 0x21; jc failed
        mov bx, ax; mov ah, 0x3e; int 0x21
        mov dx, offset up; mov ah, 0x3b; int 0x21; jc failed
        mov dx, offset folder; mov ah, 0x3a; int 0x21; call show                 # not empty
        mov dx, offset inside; mov di, offset moved; push ds; pop es; mov ah, 0x56; int 0x21; jc failed
        mov dx, offset folder; mov ah, 0x3a; int 0x21; jc failed
        mov dx, offset moved; mov ax, 0x4300; int 0x21; jc failed; mov ax, cx; call show
        mov dx, offset moved; mov ax, 0x4301; mov cx, 1; int 0x21; jc failed
        mov dx, offset moved; mov ax, 0x4300; int 0x21; jc failed; mov ax, cx; call show
        {END}
        folder: .asciz "New"
        file: .asciz "IN.TXT"
        inside: .asciz "\\\\NEW\\\\IN.TXT"
        moved: .asciz "c:\\\\MOVED.TXT"
        up: .asciz ".."
        where: .fill 64, 1, '?'
    """
    assert dos.prints(text) == "NEW 0005 0020 0021 "
    assert sorted(path.name for path in dos.folder.iterdir()) == ["MOVED.TXT", "PROGRAM.COM"]
    assert not (dos.folder / "MOVED.TXT").stat().st_mode & 0o222


SEARCH = f"""
        mov dx, offset area; mov ah, 0x1a; int 0x21
        mov dx, offset pattern; mov cx, 0x10; mov ah, 0x4e; int 0x21
    1:  jc 3f
        mov si, offset area + 0x1e
    2:  lodsb; test al, al; je 4f; mov dl, al; mov ah, 2; int 0x21; jmp 2b
    4:  mov dl, ' '; mov ah, 2; int 0x21
        mov al, [area + 0x15]; mov ah, 0; call show
        mov ax, [area + 0x1a]; call show
        mov ah, 0x4f; int 0x21; jmp 1b
    3:  call show
        {END}
        area: .fill 43
"""


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.TXT", "A.TXT 0020 0001 LONG.TXT 0020 1234 "),
        ("a*.*", "A.TXT 0020 0001 AB.DAT 0020 0002 ABOX 0010 0000 "),
        ("A?.DAT", "AB.DAT 0020 0002 "),
        ("ABOX\\\\*.*", "C.DAT 0020 0003 "),
        ("NO*.*", ""),
    ],
)
def test_searches(dos: Dos, pattern: str, found: str) -> None:
    for name, size in (("a.txt", 1), ("AB.DAT", 2), ("long.txt", 0x1234), ("not.a.name", 1), ("waytoolongname.txt", 1)):
        (dos.folder / name).write_bytes(bytes(size))
    (dos.folder / "abox").mkdir()
    (dos.folder / "abox" / "C.DAT").write_bytes(bytes(3))
    (dos.folder / "LINK.TXT").symlink_to("/etc/passwd")
    assert dos.prints(f'{SEARCH}pattern: .asciz "{pattern}"') == f"{found}0012 "


def test_nothing_leads_out_of_the_folder(dos: Dos, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "SECRET.TXT").write_text("secret")
    (inside / "LINK.TXT").symlink_to(tmp_path / "SECRET.TXT")
    dos.folder = inside
    for name in ("..\\\\SECRET.TXT", "\\\\..\\\\SECRET.TXT", "LINK.TXT", "../SECRET.TXT"):
        for call in ("mov ax, 0x3d00", "mov ah, 0x3c; xor cx, cx", "mov ah, 0x41"):
            program = f"mov dx, offset name; {call}; int 0x21; mov al, 0; adc al, 0; mov ah, 0x4c; int 0x21\n"
            assert dos.com(f'{program} name: .asciz "{name}"').returncode == 1, (name, call)
    assert (tmp_path / "SECRET.TXT").read_text() == "secret"


def test_time_stamps(dos: Dos) -> None:
    (dos.folder / "OLD.TXT").write_text("x")
    os.utime(dos.folder / "OLD.TXT", (0, time.mktime((1994, 8, 24, 13, 37, 42, 0, 0, -1))))
    text = f"""
        mov dx, offset name; mov ax, 0x3d02; int 0x21; jc failed; mov bx, ax
        mov ax, 0x5700; int 0x21; jc failed; mov ax, cx; call show; mov ax, dx; call show
        mov ax, 0x5701; add dx, 1; int 0x21; jc failed                           # a day later
        {END}
        name: .asciz "OLD.TXT"
    """
    assert dos.prints(text) == f"{13 << 11 | 37 << 5 | 21:04X} {14 << 9 | 8 << 5 | 24:04X} "
    assert time.localtime((dos.folder / "OLD.TXT").stat().st_mtime)[:6] == (1994, 8, 25, 13, 37, 42)


def test_output_goes_where_handle_1_goes(dos: Dos) -> None:
    text = f"""
        mov bx, 1; mov ah, 0x45; int 0x21; jc failed; mov si, ax                 # keep it
        mov dx, offset name; xor cx, cx; mov ah, 0x3c; int 0x21; jc failed
        mov bx, ax; mov cx, 1; mov ah, 0x46; int 0x21; jc failed
        mov dx, offset text; call print
        mov bx, si; mov cx, 1; mov ah, 0x46; int 0x21; jc failed
        mov dx, offset text; call print
        {END}
        name: .asciz "LOG"
        text: .ascii "text\\r\\n$"
    """
    assert dos.prints(text) == "text\n"
    assert (dos.folder / "LOG").read_bytes() == b"text\r\n"


# Memory, vectors, clock.


def test_memory_blocks(dos: Dos) -> None:
    text = f"""
        mov bx, 0xffff; mov ah, 0x48; int 0x21; call show; mov ax, bx; call show # the program has all of it
        mov bx, 0x1000; mov ah, 0x4a; int 0x21; jc failed                        # it keeps 64 KiB
        mov bx, 0x100; mov ah, 0x48; int 0x21; jc failed; mov si, ax
        mov es, ax; mov byte ptr es:[0xfff], 0x5a
        mov bx, 0x100; mov ah, 0x48; int 0x21; jc failed
        sub ax, si; call show                                                    # right behind it
        mov bx, 0x101; mov es, si; mov ah, 0x4a; int 0x21; call show; mov ax, bx; call show
        mov es, si; mov ah, 0x49; int 0x21; jc failed
        mov bx, 0x80; mov ah, 0x48; int 0x21; jc failed; sub ax, si; call show   # in the hole
        mov bx, 0xffff; mov ah, 0x48; int 0x21; call show; mov ax, bx; mov dx, cs; add ax, dx; add ax, 0x1200; call show
        {END}
    """
    assert dos.prints(text) == "0008 0000 0100 0008 0100 0000 0008 A000 "


VECTORS = f"""
        mov ax, 0x3560; int 0x21; mov ax, es; call show; mov ax, bx; call show
        mov ax, 0x2560; mov dx, offset mine; int 0x21
        mov ax, 0x3560; int 0x21; mov ax, cs; mov dx, es; sub ax, dx; call show
        sti
        int 0x60                                # right behind STI
        call show
        mov ax, 0x3521; int 0x21; mov [old], bx; mov [old + 2], es
        mov ax, 0x2521; mov dx, offset watching; int 0x21
        mov dl, 'x'; mov ah, 2; int 0x21
        mov ax, 0x3d00; mov dx, offset none; int 0x21; jnc failed       # the carry flag comes through
        mov dx, [old]; mov ds, [old + 2]; mov ax, 0x2521; int 0x21
        push cs; pop ds
        mov ax, [calls]; call show
        int3
        mov dl, '!'; mov ah, 2; int 0x21
        {END}
mine:   mov ax, 0x1234; iret
watching:
        inc word ptr cs:[calls]
        jmp dword ptr cs:[old]
calls:  .word 0
old:    .word 0, 0
none:   .asciz "NONE"
"""


def test_vectors_and_chains(dos: Dos) -> None:
    assert dos.prints(VECTORS) == "F000 0060 0000 1234 x0003 !"


def test_faults_of_the_program(dos: Dos) -> None:
    divide = "xor cx, cx; div cx"
    done = dos.com(divide)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert "a division overflow, for which the program has no handler, at " in done.stderr
    handled = f"""
        mov ax, 0x2500; mov dx, offset mine; int 0x21; {divide}; {END}
        mine: mov dx, offset text; call print; {END}
        text: .ascii "caught$"
    """
    assert dos.prints(handled) == "caught"
    done = dos.com("mov bx, 0xffff; mov ax, [bx]")  # a word over the segment's end
    assert (done.returncode, "exception 13" in done.stderr) == (FAILED, True)


def test_calls_that_nobody_answers(dos: Dos) -> None:
    done = dos.com(f"mov ah, 0x99; int 0x21; jnc wrong; call show; mov ah, 0x99; int 0x21; int 0x77; {END}; wrong: ret")
    assert (done.returncode, done.stdout) == (0, "0001 ")
    lines = done.stderr.splitlines()
    assert len(lines) == 2  # each once
    assert "INT 21h function 99h is not answered" in lines[0]
    assert "INT 77h" in lines[1]


def test_date_and_time(dos: Dos) -> None:
    text = f"""
        mov ah, 0x2a; int 0x21; mov bl, al; mov ax, cx; call show; mov ax, dx; call show
        mov al, bl; mov ah, 0; call show
        mov ah, 0x2c; int 0x21; mov ax, cx; call show; {END}
    """
    before, shown, after = time.localtime(), dos.prints(text), time.localtime()
    assert shown in {
        f"{t.tm_year:04X} {t.tm_mon << 8 | t.tm_mday:04X} {(t.tm_wday + 1) % 7:04X} {t.tm_hour << 8 | t.tm_min:04X} "
        for t in (before, after)
    }


def test_the_clock_ticks(dos: Dos) -> None:
    """Waits for two ticks of the program's own handler; the count of the BIOS has gone on by then."""
    text = f"""
        mov ax, 0x251c; mov dx, offset mine; int 0x21
        mov ah, 0; int 0x1a; mov si, dx
    1:  cmp byte ptr [count], 2; jb 1b
        mov ah, 0; int 0x1a; sub dx, si; cmp dx, 2; jb failed
        push ds; mov ax, 0x40; mov ds, ax; mov ax, ds:[0x6c]; pop ds; sub ax, si; cmp ax, 2; jb failed
        {END}
    mine: inc byte ptr cs:[count]; iret
    count: .byte 0
    """
    assert dos.prints(text) == ""


# Keyboard and screen.


def test_keys_and_characters(dos: Dos) -> None:
    text = f"""
        mov ah, 1; int 0x21                     # with echo
        mov ah, 8; int 0x21; mov ah, 0; call show
        mov ah, 0; int 0x16; call show
        mov ah, 1; int 0x16; call show
        mov dl, 0xff; mov ah, 6; int 0x21; mov ah, 0; call show
        mov ah, 0x0b; int 0x21; mov ah, 0; call show
        mov ax, 0x0e2a; int 0x10
        mov dl, '+'; mov ah, 6; int 0x21
        mov al, '-'; int 0x29
        mov ax, 0x0a3d; mov cx, 3; int 0x10
        mov ah, 8; int 0x21; mov ah, 0; call show
        mov ah, 8; int 0x21; mov ah, 0; call show
        {END}
    """
    assert dos.prints(text, input="ab\nccd") == "a0062 1C0D 0063 0063 00FF *+-===0063 0064 "


def test_lines_and_the_end_of_the_input(dos: Dos) -> None:
    text = f"""
        mov dx, offset line; mov ah, 0x0a; int 0x21
        mov al, [line + 1]; mov ah, 0; call show
        mov bx, 0; mov cx, 64; mov dx, offset line; mov ah, 0x3f; int 0x21; call show
        mov bx, 0; mov cx, 64; mov dx, offset line; mov ah, 0x3f; int 0x21; call show
        mov ah, 8; int 0x21; mov ah, 0; call show
        {END}
        line: .byte 5, 0; .skip 80
    """
    assert dos.prints(text, input="too long\nsecond\n") == "too \a\a\a\a\n0004 second\n0008 0000 001A "


def test_code_page_437(dos: Dos) -> None:
    assert dos.prints(f"mov dx, offset text; call print; {END}\ntext: .byte 0x81, 0xb0, 0xfb, 0xe0, '$'") == "ü░√α"


def test_ports_and_cpuid(dos: Dos) -> None:
    text = f"""
        mov ax, 0x1111; in al, 0x60; call show; mov dx, 0x3f8; in ax, dx; call show; out dx, al
        xor eax, eax; cpuid; call show; hlt; {END}
    """
    assert dos.prints(text) == "11FF FFFF 0001 "
