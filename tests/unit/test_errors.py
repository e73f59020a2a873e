from __future__ import annotations

import pytest

from pyhv import BadArgument, Busy, Closed, Denied, EngineUnavailable, HvError, HvReturn, Unsupported


@pytest.mark.parametrize("code", [code for code in HvReturn if code != HvReturn.SUCCESS])
def test_every_code_has_its_class(code: HvReturn) -> None:
    error = HvError.of(code)
    assert error.code == code
    assert type(error) is not HvError or code == HvReturn.ERROR


def test_signed_codes_are_the_same() -> None:
    error = HvError.of(int(HvReturn.BUSY) - (1 << 32), "still there")
    assert type(error) is Busy
    assert str(error) == "still there"


def test_subclasses_do_not_take_the_code_of_their_parent() -> None:
    assert type(HvError.of(HvReturn.BAD_ARGUMENT)) is BadArgument
    assert type(HvError.of(HvReturn.UNSUPPORTED)) is Unsupported
    assert (Closed.code, EngineUnavailable.code) == (HvReturn.BAD_ARGUMENT, HvReturn.UNSUPPORTED)


def test_pythons_own_words_fit() -> None:
    assert issubclass(BadArgument, ValueError)
    assert issubclass(Denied, PermissionError)


def test_unknown_codes_are_kept() -> None:
    error = HvError.of(0xFAE9_40FF)
    assert type(error) is HvError
    assert error.code == 0xFAE9_40FF
    assert "0xfae940ff" in str(error)


def test_success_is_no_error() -> None:
    with pytest.raises(ValueError, match="HV_SUCCESS"):
        HvError.of(0)
