"""Regions, on an engine that only takes notes: random operations against a page-by-page model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyhv import BadArgument, Fault, HvError, Perm
from pyhv._core.space import AddressSpace

PAGE = 4096
PAGES = 12


class Notes:
    """An engine's memory as a dict of pages."""

    def __init__(self) -> None:
        self.pages: dict[int, tuple[int, int]] = {}
        self.dirty_log = None

    def map(self, gpa: int, host: int, size: int, perm: int) -> None:
        for offset in range(0, size, PAGE):
            assert gpa + offset not in self.pages, "mapped twice"
            self.pages[gpa + offset] = (host + offset, perm)

    def unmap(self, gpa: int, size: int) -> None:
        for offset in range(0, size, PAGE):
            del self.pages[gpa + offset]

    def protect(self, gpa: int, size: int, perm: int) -> None:
        for offset in range(0, size, PAGE):
            self.pages[gpa + offset] = (self.pages[gpa + offset][0], perm)

    def read(self, gpa: int, size: int) -> bytes:
        return bytes(size)

    def write(self, gpa: int, data: bytes) -> None:
        pass


class Owner:
    def __init__(self) -> None:
        self.gone = 0

    def require(self, host: int, size: int, perm: Perm) -> None:
        pass

    def released(self) -> None:
        self.gone += 1


def space_of(notes: Notes) -> AddressSpace:
    return AddressSpace(notes, PAGE, 40)  # type: ignore[arg-type]


ranges = st.tuples(st.integers(0, PAGES - 1), st.integers(1, 4))
operations = st.lists(st.tuples(st.sampled_from(["map", "unmap", "protect"]), ranges, st.integers(0, 7)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(operations)
def test_random_operations_keep_engine_and_regions_together(steps: list[tuple[str, tuple[int, int], int]]) -> None:
    notes, model, host = Notes(), {}, 0x10_0000
    space = space_of(notes)
    for what, (page, count), perm in steps:
        gpa, size = page * PAGE, count * PAGE
        span = range(gpa, gpa + size, PAGE)
        before = dict(notes.pages)
        try:
            if what == "map":
                space.map(gpa, host, size, perm, Owner())
                assert not any(one in model for one in span)
                model |= {one: (host + one - gpa, perm) for one in span}
                host += size
            elif what == "unmap":
                space.unmap(gpa, size)
                assert any(one in model for one in span)
                model = {one: value for one, value in model.items() if one not in span}
            else:
                space.protect(gpa, size, perm)
                assert all(one in model for one in span)
                model |= {one: (model[one][0], perm) for one in span}
        except HvError:
            assert notes.pages == before, "a refused call changed something"
        assert notes.pages == model
        shown = {
            at: (region.host + at - region.start, int(region.perm))
            for region in space.regions()
            for at in range(region.start, region.end, PAGE)
        }
        assert shown == model


def test_an_owner_is_told_when_its_last_page_goes() -> None:
    space, owner = space_of(Notes()), Owner()
    space.map(0, 0x10_0000, 4 * PAGE, 7, owner)
    space.unmap(PAGE, PAGE)
    space.unmap(0, PAGE)
    assert owner.gone == 0
    space.unmap(0, 8 * PAGE)
    assert owner.gone == 1
    other = Owner()
    space.map(0, 0x10_0000, PAGE, 7, other)
    space.close()
    assert other.gone == 1
    assert space.regions() == ()


def test_only_the_owners_part_is_unmapped() -> None:
    space, first, second = space_of(Notes()), Owner(), Owner()
    space.map(0, 0x10_0000, 2 * PAGE, 7, first)
    space.unmap(PAGE, PAGE)
    space.map(PAGE, 0x20_0000, PAGE, 7, second)
    space.unmap_owner(0, 2 * PAGE, first)
    assert [region.owner for region in space.regions()] == [second]
    space.unmap_owner(0, 2 * PAGE, first)


def test_reads_and_writes_name_the_hole() -> None:
    space = space_of(Notes())
    space.map(0, 0x10_0000, PAGE, 7, Owner())
    space.map(2 * PAGE, 0x10_2000, PAGE, 7, Owner())
    assert space.read(0, PAGE) == bytes(PAGE)
    with pytest.raises(Fault, match="gpa 0x1000 is not mapped"):
        space.read(PAGE - 1, 2)
    with pytest.raises(Fault, match="gpa 0x1000 is not mapped"):
        space.write(0, bytes(3 * PAGE))
    assert space.read(5 * PAGE, 0) == b""


def test_a_host_address_must_be_a_page() -> None:
    with pytest.raises(BadArgument, match="host address 0x100010"):
        space_of(Notes()).map(0, 0x10_0010, PAGE, 7, Owner())
