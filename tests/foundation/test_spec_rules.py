"""Every function of Apple's, every code of it and every rule has a promise, a test or a reason."""

from __future__ import annotations

import ast

import pytest

from pyhv.testing import promises
from spec_api import ROOT, load
from spec_rules import SUCCESS, Codes, Rule, load_codes, load_promises, load_rules

INTEL = load("intel")
CODES = load_codes()
PARTS, RULES = load_rules()
PROMISES = load_promises()
SHOWN = {outcome for promise in PROMISES for outcome in promise.covers}


def test_the_source_says_what_python_sees() -> None:
    """The documentation is made from the source alone."""
    told = {promise.name: (promise.rules, promise.covers) for promise in PROMISES}
    assert told == {promise.name: (promise.rules, promise.covers) for promise in promises()}


def test_every_function_has_its_codes() -> None:
    assert {codes.name for codes in CODES} == {function.name for function in INTEL.functions}
    known = next(enum for enum in INTEL.enums if "HV_NO_DEVICE" in enum.values).values
    assert {code for codes in CODES for code in codes.when} <= set(known)


def test_what_apple_documents_is_among_them() -> None:
    when = {codes.name: codes.when for codes in CODES}
    for function in INTEL.functions:
        assert set(function.errors) <= set(when[function.name]), function.name


@pytest.mark.parametrize("codes", CODES, ids=lambda codes: codes.name)
def test_every_code_is_shown_by_a_promise(codes: Codes) -> None:
    shown = {code for name, code in SHOWN if name == codes.name}
    assert shown == codes.to_show
    assert all(codes.unseen.values())
    assert set(codes.unseen) <= set(codes.when)
    assert SUCCESS not in codes.when


def test_no_promise_covers_what_is_no_function() -> None:
    assert {name for name, _ in SHOWN} <= {codes.name for codes in CODES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.number)
def test_every_rule_has_a_promise_a_test_or_a_reason(rule: Rule) -> None:
    shown = any(rule.number in promise.rules for promise in PROMISES) or bool(rule.tests)
    assert shown + bool(rule.not_here) + bool(rule.not_met) == 1, "one of the three, and no more"
    assert shown or not rule.partly
    assert rule.number.partition(".")[0] in PARTS
    for test in rule.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, test


def test_promises_stand_for_rules_that_there_are() -> None:
    numbers = {rule.number for rule in RULES}
    for promise in PROMISES:
        assert set(promise.rules) <= numbers, promise.name
