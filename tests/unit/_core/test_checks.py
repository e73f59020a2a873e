from __future__ import annotations

import pytest

from pyhv import BadArgument, Perm
from pyhv._core.checks import aligned, integer, page_range, permission


def test_integer_takes_what_is_an_index() -> None:
    assert integer("x", True) == 1
    assert integer("x", (1 << 64) - 1) == (1 << 64) - 1


@pytest.mark.parametrize(("value", "shown"), [(-1, "-1"), (1 << 64, "0x10000000000000000")])
def test_integer_says_what_would_do(value: int, shown: str) -> None:
    with pytest.raises(BadArgument, match=f"x takes 0 to 0xffffffffffffffff, not {shown}"):
        integer("x", value)


def test_what_is_no_integer_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="x takes an integer, not str"):
        integer("x", "1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        integer("x", 1.0)  # type: ignore[arg-type]


def test_aligned_names_the_neighbours() -> None:
    assert aligned("gpa", 0x4000, 0x4000) == 0x4000
    with pytest.raises(BadArgument, match="gpa 0x1234 is not a multiple of the page size 4096; 0x1000 or 0x2000 would"):
        aligned("gpa", 0x1234, 4096)


def test_page_range_ends_with_the_address_space() -> None:
    assert page_range((1 << 40) - 4096, 4096, page=4096, gpa_bits=40) == ((1 << 40) - 4096, 4096)
    with pytest.raises(BadArgument, match=r"ends at 0x10000001000, beyond .* 0x10000000000 \(40 bits\)"):
        page_range(1 << 40, 4096, page=4096, gpa_bits=40)
    with pytest.raises(BadArgument, match="size is 0"):
        page_range(0, 0, page=4096, gpa_bits=40)


def test_permission() -> None:
    assert permission(5) is Perm.RX
    assert permission(0) is Perm.NONE
    with pytest.raises(BadArgument, match="0x8"):
        permission(8)
    with pytest.raises(BadArgument):
        permission(-1)
