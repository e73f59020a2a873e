from __future__ import annotations

import pytest

from pyhv.arch.bits import Bits, bit, bits
from pyhv.arch.x86_64.layouts import AccessRights, Cr0, InterruptionInfo, RFlags


class Sample(Bits, width=16):
    low = bit(0)
    field = bits(7, 4)
    high = bit(15)


def test_fields_read_their_bits() -> None:
    value = Sample(0x80A1)
    assert (value.low, value.field, value.high) == (True, 0xA, True)
    assert value.low is True
    assert Sample(0).low is False


def test_replace_keeps_the_rest_also_bits_without_a_name() -> None:
    assert Sample(0x0F0F).replace(field=5, high=1) == 0x8F5F
    assert isinstance(Sample(0).replace(low=1), Sample)


def test_replace_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="field takes 0 to 0xf, not 0x10"):
        Sample(0).replace(field=16)
    with pytest.raises(ValueError, match="has no field 'middle'"):
        Sample(0).replace(middle=1)


def test_the_printout_names_what_is_set() -> None:
    assert repr(Sample(0x80A0)) == "Sample(0x80a0: field=0xa high)"
    assert repr(RFlags(0x202)) == "RFlags(0x202: if_)"


def test_layouts_have_the_manuals_positions() -> None:
    assert Cr0(1 << 31).pg
    assert Cr0(1).pe
    assert RFlags(0x3000).iopl == 3
    assert RFlags(1 << 11).of
    rights = AccessRights(0xA09B)
    assert (rights.type, rights.s, rights.p, rights.l, rights.db, rights.g) == (0xB, True, True, True, False, True)
    info = InterruptionInfo(0x8000_0B0E)
    assert (info.vector, info.kind, info.error_code, info.valid) == (14, 3, True, True)
