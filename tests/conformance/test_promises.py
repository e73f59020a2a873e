"""Every promise of `pyhv.testing`, on every engine that works here."""

from __future__ import annotations

import pytest

from pyhv import engine_statuses
from pyhv.engines.base import EngineVm
from pyhv.engines.soft import SoftEngine
from pyhv.errors import BadArgument, Unsupported
from pyhv.framework import intel as hv
from pyhv.testing import Promise, promises, recorded
from spec_rules import SUCCESS, load_codes

from .limits import DIFFERENT, UNSUPPORTED

# Promises that an engine does not keep yet: (engine, name) → what is missing. One that is kept after all makes its test
# fail: take it out.
NOT_YET: dict[tuple[str, str], str] = {}

KNOWN = {(codes.name, code) for codes in load_codes() for code in (SUCCESS, *codes.when)}

ENGINES = [status.name for status in engine_statuses() if status.works]


def _case(promise: Promise, engine: str) -> object:
    missing = NOT_YET.get((engine, promise.name))
    marks = [pytest.mark.xfail(reason=missing, strict=True)] if missing else []
    differs = DIFFERENT.get((engine, promise.name))
    if differs:
        marks.append(pytest.mark.skip(reason=f"{engine}: {differs}"))
    return pytest.param(promise, engine, id=f"{promise}-{engine}", marks=marks)


CASES = [_case(promise, engine) for engine in ENGINES for promise in promises()]


@pytest.mark.parametrize(("promise", "engine"), CASES)
def test_promise(promise: Promise, engine: str) -> None:
    if (engine, promise.name) in UNSUPPORTED:
        with pytest.raises(Unsupported):
            promise.check(engine)
        return
    with recorded() as outcomes:
        promise.check(engine)
    assert promise.covers <= outcomes, "it says that it shows what no call of it ended with"
    lacking = set() if engine == "soft" else {one for one in outcomes if one[1] == "HV_UNSUPPORTED"}
    assert outcomes - lacking <= KNOWN, "a call ended with a code that spec/api/intel_codes.toml does not tell"
    assert outcomes or not promise.name.startswith("strict_"), "it is about Apple's functions, and called none"


def test_what_is_not_kept_yet_is_a_promise() -> None:
    assert {name for _, name in (*NOT_YET, *UNSUPPORTED, *DIFFERENT)} <= {promise.name for promise in promises()}


def test_there_is_an_engine_to_test() -> None:
    assert "soft" in ENGINES


def test_a_promise_cannot_claim_what_it_does_not_call() -> None:
    with recorded() as outcomes:
        hv.hv_vmx_read_capability(hv.HV_VMX_CAP_PINBASED)
        with pytest.raises(BadArgument):
            hv.hv_vmx_read_capability(99)
    hv.hv_vmx_read_capability(hv.HV_VMX_CAP_PROCBASED)  # after the time that counts
    assert outcomes == {("hv_vmx_read_capability", "HV_SUCCESS"), ("hv_vmx_read_capability", "HV_BAD_ARGUMENT")}


def test_an_engine_of_ones_own_can_be_put_to_it() -> None:
    class Counting(SoftEngine):
        name = "counting"
        made = 0

        def create_vm(self, ns_per_instruction: float = 0.0, apic: bool = False) -> EngineVm:
            self.made += 1
            return super().create_vm(ns_per_instruction, apic)

    mine = Counting()
    chosen = {"entry.a_program_talks_and_halts", "strict_running.a_kick_is_reason_1"}
    for promise in promises():
        if promise.name in chosen:
            promise.check(mine)
    assert mine.made == len(chosen)
    assert "counting" not in [status.name for status in engine_statuses()]


def test_a_promise_that_is_not_kept_fails() -> None:
    def broken(engine: str) -> None:
        assert engine == "another"

    with pytest.raises(AssertionError):
        Promise("broken", "objects", broken).check("soft")
