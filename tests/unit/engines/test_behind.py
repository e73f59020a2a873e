"""Finding the instruction that KVM has just done: on bytes and registers, without KVM."""

from __future__ import annotations

import pytest

from pyhv.engines.kvm import behind
from pyhv.engines.kvm.behind import RAX, RCX, RDI, RDX, RFLAGS, RIP, RSI, RSP, Before, Mode
from pyhv.exits import PortOut

REAL, PROTECTED, LONG = Mode(16, 16, 0), Mode(32, 32, 0), Mode(64, 64, 0)
CODE = 0x1000


def general(**changes: int) -> tuple[int, ...]:
    values = [0] * 18
    values[RIP], values[RFLAGS] = CODE, 2
    for name, value in changes.items():
        values[getattr(behind, name)] = value
    return tuple(values)


def found(
    code: str, mode: Mode = REAL, after: str = "", written: tuple[int, int] = (1, 0), **changes: int
) -> list[Before]:
    parts = bytes.fromhex(code), bytes.fromhex(after)
    return list(behind.candidates(parts, general(**changes), mode, written))


@pytest.mark.parametrize(
    ("code", "bits", "size", "lengths"),
    [
        ("90ee", 16, 1, [1]),
        ("90ef", 16, 2, [1]),
        ("66ef", 16, 4, [2]),  # the 66 is needed
        ("66ef", 32, 2, [2]),
        ("66ef", 32, 4, [1]),  # the 66 belongs to what is before
        ("90ef", 64, 4, [1]),
        ("48ef", 64, 4, [1, 2]),
        ("2eee", 16, 1, [1, 2]),
        ("e6f8", 16, 1, []),  # another port
        ("90ec", 16, 1, []),
    ],
)
def test_port_writes_from_a_register(code: str, bits: int, size: int, lengths: list[int]) -> None:
    registers = general(RAX=0x55, RDX=0x3F8)
    assert behind.plain_outs(bytes.fromhex(code), PortOut(0x3F8, size, 0x55), registers, bits) == lengths


def test_a_port_write_has_its_port_and_value() -> None:
    code = bytes.fromhex("e661")
    assert behind.plain_outs(code, PortOut(0x61, 1, 0x55), general(RAX=0x55), 16) == [2]
    assert behind.plain_outs(code, PortOut(0x61, 1, 0x54), general(RAX=0x55), 16) == []
    assert behind.plain_outs(code, PortOut(0x62, 1, 0x55), general(RAX=0x55), 16) == []


def test_a_port_write_ahead() -> None:
    assert behind.plain_out_at(bytes.fromhex("ee"), 16) == 1
    assert behind.plain_out_at(bytes.fromhex("66ef90"), 16) == 2
    assert behind.plain_out_at(bytes.fromhex("2ee661"), 16) == 3
    assert behind.plain_out_at(bytes.fromhex("48ef"), 64) == 2
    assert behind.plain_out_at(bytes.fromhex("48ef"), 32) == 0  # dec eax
    assert behind.plain_out_at(bytes.fromhex("6e"), 16) == 0
    assert behind.plain_out_at(b"", 16) == 0


def test_hlt_may_have_prefixes() -> None:
    assert behind.halts(bytes.fromhex("90f4"), 16) == [1]
    assert behind.halts(bytes.fromhex("66f4"), 16) == [1, 2]
    assert behind.halts(bytes.fromhex("f490"), 16) == []
    assert behind.halts(b"", 16) == []


def test_a_store_begins_where_its_bytes_do() -> None:
    (one,) = found("8807", RAX=7)
    assert one == Before(2, general(RIP=CODE - 2, RAX=7))
    assert [one.length for one in found("678803", LONG)] == [2, 3]  # with its prefix or without: the witness tells


@pytest.mark.parametrize(
    ("code", "mode", "size", "flags", "moved"),
    [
        ("aa", REAL, 1, 2, ("RDI", 0x2FFF)),
        ("ab", REAL, 2, 2, ("RDI", 0x2FFE)),
        ("aa", REAL, 1, 0x402, ("RDI", 0x3001)),  # downwards
        ("48ab", LONG, 8, 2, ("RDI", 0x2FF8)),
        ("6e", REAL, 1, 2, ("RSI", 0x2FFF)),
    ],
)
def test_strings_go_back_an_item(code: str, mode: Mode, size: int, flags: int, moved: tuple[str, int]) -> None:
    register, before = moved
    states = found(code, mode, written=(size, 0), RFLAGS=flags, **{register: 0x3000})
    assert before in [one.general[getattr(behind, register)] for one in states]


def test_movs_goes_back_with_both() -> None:
    (one,) = found("a4", RSI=0x2001, RDI=0x3001)
    assert (one.general[RSI], one.general[RDI], one.repeats) == (0x2000, 0x3000, False)


def test_an_index_wraps_within_its_width() -> None:
    assert found("aa", REAL, RDI=0x5_0000)[0].general[RDI] == 0x5_FFFF
    assert found("67aa", REAL, RDI=0)[-1].general[RDI] == 0xFFFF_FFFF


def test_a_repeat_that_is_not_over_stands_on_itself() -> None:
    (one,) = found("", after="f3aa90", RCX=2, RDI=0x3001, RFLAGS=0x1_0002)
    assert (one.general[RIP], one.general[RCX], one.general[RDI]) == (CODE, 3, 0x3000)
    assert (one.length, one.repeats, one.general[RFLAGS]) == (2, True, 2)
    assert found("", after="aa90") == []


def test_the_last_item_of_a_repeat_is_behind_it() -> None:
    (one,) = [one for one in found("f3aa", RCX=0, RDI=0x3001) if one.repeats]
    assert (one.general[RIP], one.general[RCX]) == (CODE - 2, 1)


def test_the_stack_pointer_goes_back() -> None:
    assert {one.general[RSP] for one in found("50", RSP=0x7FFE)} >= {0x8000}
    assert {one.general[RSP] for one in found("8f07", RSP=0x8002) if one.length == 2} >= {0x8000}
    assert {one.general[RSP] for one in found("50", Mode(32, 16, 0), RSP=0x1_FFFE)} >= {0x1_0002}


def test_an_exchange_gives_the_register_what_memory_was_to_get() -> None:
    registers = {one.general[RAX] for one in found("8607", written=(1, 0x77), RAX=0x1122)}
    assert 0x1177 in registers
    added = {one.general[RAX] for one in found("0fc107", written=(2, 0x30), RAX=0x10)}
    assert 0x20 in added
    assert 0x7722 in {one.general[RAX] for one in found("8627", written=(1, 0x77), RAX=0x1122)}  # AH


def test_a_carry_that_was_read_may_have_been_either() -> None:
    assert {one.general[RFLAGS] & 1 for one in found("1107", written=(2, 0)) if one.length == 2} == {0, 1}
    assert {one.general[RFLAGS] & 1 for one in found("0107", written=(2, 0)) if one.length == 2} == {0}


def test_what_writes_nothing_is_no_candidate() -> None:
    assert found("8bc3") == []
    assert found("07") == []  # pop es


def test_decoding_from_a_known_place_decides() -> None:
    code = bytes.fromhex("b02e ee".replace(" ", ""))  # mov al, 0x2e; out dx, al: the 2e is no prefix
    plain, prefixed = Before(1, general()), Before(2, general())
    assert behind.likeliest([prefixed, plain], code, 16, 0) is plain
    assert behind.likeliest([prefixed, plain], bytes.fromhex("902eee"), 16, 0) is prefixed


def test_decoding_from_many_places_decides_without() -> None:
    filler = bytes.fromhex("90" * 60)
    plain, prefixed = Before(1, general()), Before(2, general())
    assert behind.likeliest([prefixed, plain], filler + bytes.fromhex("2eee"), 16) is prefixed
    assert behind.likeliest([prefixed, plain], filler + bytes.fromhex("b82eeeb02eee"), 16) is plain


def test_rf_tells_a_repeat_from_the_same_instruction_before_it() -> None:
    plain, repeat = Before(1, general()), Before(2, general(), True)  # stosb; rep stosb
    assert behind.of_repeats([plain, repeat], general(RFLAGS=0x1_0002)) == [repeat]
    assert behind.of_repeats([plain, repeat], general(RFLAGS=2)) == [plain]
    assert behind.of_repeats([plain], general(RFLAGS=0x1_0002)) == [plain]


def test_loads_that_change_registers_alone() -> None:
    for text in ("mov al, [bx]", "cmp [bx], al", "movzx eax, byte ptr [rbx]", "lodsb", "and ax, [bx]"):
        assert behind.loads_registers(text), text
    for text in ("mov ds, [bx]", "and [bx], al", "push [bx]", "movsb", "movaps xmm0, [rbx]", "lgdt [bx]"):
        assert not behind.loads_registers(text), text


def test_where_an_instruction_is() -> None:
    assert Mode(16, 16, 0xF_0000).linear(0x1000) == 0x10_0000 - 0xF000
    assert Mode(32, 32, 0xFFFF_F000).linear(0x2000) == 0x1000
    assert LONG.linear(0xFFFF_8000_0000_1000) == 0xFFFF_8000_0000_1000
    assert PROTECTED.linear(5) == 5
    assert (RCX, RDX, RSI) == (2, 3, 4)
