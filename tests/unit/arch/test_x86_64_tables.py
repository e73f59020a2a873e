"""The numbers of pyhv.arch are those of spec/api."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from pyhv.arch.x86_64 import vmcs
from pyhv.arch.x86_64.msrs import MSRS, NATIVE, STATE, msr_number
from pyhv.arch.x86_64.registers import Reg

SPEC = Path(__file__).parents[3] / "spec" / "api" / "intel.toml"


@pytest.fixture(scope="module")
def enums() -> dict[str, dict[str, int]]:
    spec: dict[str, Any] = tomllib.loads(SPEC.read_text())
    return {enum["name"]: enum["values"] for enum in spec["enum"]}


def test_registers(enums: dict[str, dict[str, int]]) -> None:
    values = {name.removeprefix("HV_X86_"): number for name, number in enums["hv_x86_reg_t"].items()}
    del values["REGISTERS_MAX"]
    assert {reg.name: reg.value for reg in Reg} == values


def test_msrs(enums: dict[str, dict[str, int]]) -> None:
    theirs = {name.removeprefix("HV_MSR_IA32_"): number for name, number in enums["hv_msr"].items()}
    shared = MSRS.keys() & theirs.keys()
    assert len(shared) > 15
    assert all(MSRS[name] == theirs[name] for name in shared)
    assert set(STATE) <= MSRS.keys()
    assert MSRS["FLUSH_CMD"] not in NATIVE
    assert msr_number("ia32_efer") == msr_number("EFER") == 0xC000_0080


def test_vmcs_fields_exist(enums: dict[str, dict[str, int]]) -> None:
    assert {field.value for field in vmcs.Vmcs} <= set(enums["vmcs_field"].values())


@pytest.mark.parametrize("name", vmcs.SEGMENTS)
def test_segment_fields(enums: dict[str, dict[str, int]], name: str) -> None:
    fields = enums["vmcs_field"]
    stem = f"VMCS_GUEST_{name.upper()}"
    expected = tuple(fields[f"{stem}{part}"] for part in ("", "_BASE", "_LIMIT", "_AR"))
    assert vmcs.segment_fields(name) == expected


def test_control_bits(enums: dict[str, dict[str, int]]) -> None:
    primary, secondary = set(enums["vmx_cpu_based"].values()), set(enums["vmx_cpu_based2"].values())
    assert {bit.value for bit in vmcs.CpuBased} <= primary
    assert {bit.value for bit in vmcs.CpuBased2} <= secondary
    assert enums["vmx_vmentry_controls"]["VMENTRY_GUEST_IA32E"] == vmcs.ENTRY_IA32E
    assert sorted(vmcs.CAPABILITY_WORDS) == sorted(enums["hv_vmx_capability_t"].values())
