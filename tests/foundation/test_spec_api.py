"""spec/api is complete in itself: each pointer has its direction, each length a parameter, and names are told once."""

from __future__ import annotations

import pytest

import gen_constants
from spec_api import DIRECTIONS, Api, Function, is_pointer, load

APIS = {name: load(name) for name in ("intel", "apple_silicon")}
FUNCTIONS = [
    pytest.param(api, function, id=f"{name}-{function.name}")
    for name, api in APIS.items()
    for function in api.functions
]


def test_the_counts_are_the_ones_readme_states() -> None:
    intel, silicon = APIS["intel"], APIS["apple_silicon"]
    assert (len(intel.functions), len(intel.enums), sum(len(e.values) for e in intel.enums)) == (81, 29, 517)
    assert (len(silicon.functions), len(silicon.enums), sum(len(e.values) for e in silicon.enums)) == (93, 21, 1918)


@pytest.mark.parametrize(("api", "function"), FUNCTIONS)
def test_each_pointer_has_a_direction_and_nothing_else_has(api: Api, function: Function) -> None:
    for param in function.params:
        assert (param.direction in DIRECTIONS) == is_pointer(api, param.type), param
        if param.type.startswith("const "):
            assert param.direction == "in", f"{param.name} is const: it cannot be written"


@pytest.mark.parametrize(("api", "function"), FUNCTIONS)
def test_each_length_joins_a_pointer_to_a_number(api: Api, function: Function) -> None:
    by_name = {param.name: param for param in function.params}
    for pointer, count in function.lengths.items():
        assert is_pointer(api, by_name[pointer].type)
        assert not is_pointer(api, by_name[count].type)
    untyped = [p.name for p in function.params if p.type in ("void *", "const void *") and p.direction != "out"]
    assert set(untyped) <= set(function.lengths), "bytes that the call reads need a length"


def test_names_of_functions_are_told_once() -> None:
    for api in APIS.values():
        names = [function.name for function in api.functions]
        assert len(names) == len(set(names))


def test_a_pointer_without_a_direction_would_be_seen() -> None:
    api = APIS["intel"]
    assert is_pointer(api, "uint64_t *")
    assert is_pointer(api, "uint64_t[8]")
    assert is_pointer(api, "hv_uvaddr_t")
    assert not is_pointer(api, "hv_gpaddr_t")


def test_the_constants_module_has_every_value_and_only_those() -> None:
    namespace: dict[str, object] = {"__name__": "constants"}
    exec(compile(gen_constants.source(APIS["intel"]), "constants", "exec"), namespace)
    public = {name: value for name, value in namespace.items() if not name.startswith("_")}
    expected = {name: value for enum in APIS["intel"].enums for name, value in enum.values.items()}
    expected |= {name: value for name, (value, _) in APIS["intel"].integers.items()}
    for name, value in expected.items():
        assert public.pop(name) == value, name
    assert set(public) == {enum.name for enum in APIS["intel"].enums}
