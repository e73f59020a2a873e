"""The text screen as values, its registers, and how a row is painted."""

from __future__ import annotations

import pytest

from pyhv import Fault
from pyhv.cli.screen import painted, sequence
from pyhv.vmm.devices.crtc import Crtc, InputStatus, Register
from pyhv.vmm.screen import FRAME_BYTES, GLYPHS, TEXT_AT, TEXT_BYTES, Frame, TextScreen


def cells(text: str, attribute: int = 7) -> bytes:
    return b"".join(bytes((GLYPHS.index(c), attribute)) for c in text)


def screen(memory: bytes, **registers: int) -> TextScreen:
    crtc = Crtc()
    for name, value in registers.items():
        crtc.write(0, 1, Register[name])
        crtc.write(1, 1, value)
    memory = memory.ljust(TEXT_BYTES, b"\0")

    def read(at: int, size: int) -> bytes:
        assert (at, size) == (TEXT_AT, TEXT_BYTES)
        return memory

    return TextScreen(read, crtc)


def test_lines_are_without_blanks_on_the_right_and_at_the_bottom() -> None:
    frame = screen(cells("Hi  ".ljust(160) + " there")).frame()
    assert frame.lines == ("Hi", "", " there")
    assert len(frame.cells) == FRAME_BYTES


def test_every_character_of_the_pc_has_a_glyph() -> None:
    assert len(GLYPHS) == len(set(GLYPHS)) + 2 == 256  # 0, 32 and 255 are all blank
    assert (GLYPHS[0x41], GLYPHS[0xC4], GLYPHS[0x7F], GLYPHS[0x01]) == ("A", "─", "⌂", "☺")
    assert all(glyph.isprintable() for glyph in GLYPHS)


def test_text_is_found_within_a_line() -> None:
    frame = screen(cells("Pass:  0".ljust(80) + "Errors: 0")).frame()
    assert frame.shows("s:  0")
    assert not frame.shows("0Errors")


def test_the_start_address_scrolls_and_memory_goes_round() -> None:
    memory = bytearray(TEXT_BYTES)
    memory[160:162] = cells("x")
    assert screen(bytes(memory), START_LOW=80).frame().lines == ("x",)
    last_row = TEXT_BYTES // 2 - 80
    memory[2 * last_row : 2 * last_row + 2] = cells("y")
    shown = screen(bytes(memory), START_HIGH=last_row >> 8, START_LOW=last_row & 0xFF).frame()
    assert shown.lines == ("y", "", "x")


def test_the_cursor() -> None:
    assert screen(b"", CURSOR_LOW=163 & 0xFF).frame().cursor == (2, 3)
    assert screen(b"", CURSOR_LOW=163, START_LOW=80).frame().cursor == (1, 3)
    assert screen(b"", CURSOR_HIGH=0x10).frame().cursor is None  # not on the screen
    assert screen(b"", CURSOR_START=0x2D).frame().cursor is None
    assert screen(b"", CURSOR_START=0x0F, CURSOR_END=0x0E).frame().cursor is None


def test_unmapped_text_memory_is_a_blank_screen() -> None:
    def read(at: int, size: int) -> bytes:
        raise Fault(f"{at:#x}")

    assert TextScreen(read, Crtc()).frame().lines == ()


def test_registers_read_back_and_the_others_are_ones() -> None:
    crtc = Crtc()
    crtc.write(0, 1, 0x0E)
    crtc.write(1, 1, 0x12)
    assert (crtc.read(0, 1), crtc.read(1, 1)) == (0x0E, 0x12)
    crtc.write(0, 1, 0xF0)
    crtc.write(1, 1, 0x34)
    assert crtc.read(1, 1) == 0xFF


def test_the_retrace_comes_and_goes() -> None:
    status = InputStatus()
    assert [status.read(0, 1) & 8 for _ in range(4)] == [8, 0, 8, 0]


@pytest.mark.parametrize(
    ("attribute", "codes"),
    [(0x07, "0;37;40"), (0x1F, "0;97;44"), (0x4E, "0;93;41"), (0x20, "0;30;42"), (0x87, "0;37;40;5")],
)
def test_colours(attribute: int, codes: str) -> None:
    assert sequence(attribute) == f"\x1b[{codes}m"


def test_a_run_of_one_colour_is_one_sequence() -> None:
    assert list(painted(cells("ab", 7) + cells("c", 0x1F))) == ["\x1b[0;37;40mab", "\x1b[0;97;44mc"]


def test_frames_compare_by_what_they_show() -> None:
    assert Frame(b"a\7", None) == Frame(b"a\7", None) != Frame(b"a\7", (0, 0))
