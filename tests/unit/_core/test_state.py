from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyhv import BadArgument, CpuState
from pyhv._core.state import NAMES

BLANK = CpuState((0,) * len(NAMES), bytes(576))


@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=len(NAMES), max_size=len(NAMES)), st.binary(max_size=600))
def test_bytes_and_back(values: list[int], xsave: bytes) -> None:
    state = CpuState(tuple(values), xsave)
    assert CpuState.from_bytes(state.to_bytes()) == state


@given(st.data())
def test_damage_is_noticed(data: st.DataObject) -> None:
    image = bytearray(BLANK.to_bytes())
    position = data.draw(st.integers(0, len(image) - 1))
    image[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadArgument):
        CpuState.from_bytes(bytes(image))


@given(st.integers(0, len(BLANK.to_bytes()) - 1))
def test_a_cut_image_is_noticed(length: int) -> None:
    with pytest.raises(BadArgument):
        CpuState.from_bytes(BLANK.to_bytes()[:length])


def test_something_foreign_is_named() -> None:
    with pytest.raises(BadArgument, match="not a saved vCPU"):
        CpuState.from_bytes(b"\x7fELF" + bytes(100))


def test_names_are_unique_and_reach_their_values() -> None:
    assert len(set(NAMES)) == len(NAMES)
    state = BLANK.replace({name: number for number, name in enumerate(NAMES)})
    assert [state[name] for name in NAMES] == list(range(len(NAMES)))
    assert state.as_dict()["rip"] == state["rip"]


def test_diff() -> None:
    other = CpuState(BLANK.replace(rax=0x10).values, bytes(16) + b"\1" + bytes(559))
    assert BLANK.diff(other) == ["rax: 0x0 -> 0x10", f"xsave[0x10]: {'00' * 16} -> 01{'00' * 15}"]
    assert BLANK.diff(BLANK) == []


def test_wrong_lengths_and_names() -> None:
    with pytest.raises(BadArgument, match="values, not 1"):
        CpuState((0,), b"")
    with pytest.raises(BadArgument, match="nope"):
        BLANK.replace(nope=1)
    with pytest.raises(BadArgument):
        BLANK.replace(rax=-1)
