"""DOS programs on `hv run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Hv

Image = Callable[..., Path]


@pytest.mark.parametrize(("code", "exit_code"), [(0, 0), (1, 3), (7, 15)])
def test_exit_codes(hv: Hv, image: Image, code: int, exit_code: int) -> None:
    assert hv("run", image(f"b8{code:02x}4c cd21", "x.com")).returncode == exit_code


def test_a_plain_return_ends_the_program(hv: Hv, image: Image) -> None:
    assert hv("run", image("c3", "x.com")).returncode == 0


def test_strings_and_arguments(hv: Hv, image: Image) -> None:
    code = "ba0e01 b409 cd21 8a0e8000 30ed ba8100 b440 bb0100 cd21 c3".replace("0e01", "1801")
    done = hv("run", image(bytes.fromhex(code).ljust(0x18, b"\x90") + b"args:$", "x.com"), "one", "two")
    assert done.stdout == "args: one two"


def test_input_and_its_end(hv: Hv, image: Image) -> None:
    # L: mov ah,8 / int 21h / cmp al,1Ah / je E / mov dl,al / mov ah,2 / int 21h / jmp L / E: ret
    program = image("b408 cd21 3c1a 7408 88c2 b402 cd21 ebf0 c3", "x.com")
    assert hv("run", program, input="xyz").stdout == "xyz"


def test_files_beside_the_program_can_be_read_and_no_others(hv: Hv, image: Image, tmp_path: Path) -> None:
    # mov dx,82h / mov bl,[80h] / mov bh,0 / mov [bx+81h],bh / mov ax,3D00h / int 21h / jc E /
    # mov bx,ax / mov cx,64 / mov dx,300h / mov ah,3Fh / int 21h / mov cx,ax / mov bx,1 / mov ah,40h / int 21h / E: ret
    code = (
        "ba8200 8a1e8000 b700 88bf8100 b8003d cd21 7219"
        "89c3 b94000 ba0003 b43f cd21 89c1 bb0100 b440 cd21 9090 9090 90 c3"
    )
    inside = tmp_path / "inside"
    inside.mkdir()
    program = inside / "show.com"
    program.write_bytes(bytes.fromhex(code))
    (inside / "Data.txt").write_text("contents")
    (tmp_path / "secret.txt").write_text("secret")
    assert hv("run", program, "DATA.TXT").stdout == "contents"
    assert hv("run", program, "..\\SECRET.TXT").stdout == ""


def test_a_program_s_own_interrupt_handler(hv: Hv, image: Image) -> None:
    # mov ax,2560h / mov dx,handler / int 21h / int 60h / mov dl,al / mov ah,2 / int 21h / ret
    code = bytes.fromhex("b86025 ba1101 cd21 cd60 88c2 b402 cd21 c3")
    handler = bytes.fromhex("b021 cf")  # mov al,'!' / iret
    assert len(code) == 0x11
    assert hv("run", image(code + handler, "x.com")).stdout == "!"


def test_unknown_calls_are_named(hv: Hv, image: Image) -> None:
    done = hv("run", image("b499 cd21", "x.com"))
    assert done.returncode == 12
    assert "INT 21h function 99h" in done.stderr


def test_a_program_s_own_fault(hv: Hv, image: Image) -> None:
    done = hv("run", image("31c9 f7f1", "x.com"))
    assert done.returncode == 8
    assert "#DE" in done.stderr
    assert "DOS has no handler" in done.stderr


def test_memory_that_is_not_there(hv: Hv, image: Image) -> None:
    # mov ax,FFFFh / mov ds,ax / mov dx,ax / mov ah,9 / int 21h: a string from beyond the first MiB
    done = hv("run", image("b8ffff 8ed8 89c2 b409 cd21", "x.com"), "--memory", "1M")
    assert done.returncode == 8
    assert "INT 21h at 0100:0109 was given memory that is not there" in done.stderr
