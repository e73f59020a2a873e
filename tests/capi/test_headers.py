"""The C headers: each alone, as C11 and C++17, without a warning, with every name of the spec."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "include"
SPEC = tomllib.loads((ROOT / "spec" / "api" / "intel.toml").read_text(encoding="utf-8"))
HEADERS = sorted(path.name for path in (INCLUDE / "Hypervisor").glob("*.h"))
COMPILERS = {"c": ("gcc", "-std=c11"), "cpp": ("g++", "-std=c++17")}
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wsign-compare", "-Wconversion", "-Werror")


def compiles(tmp_path: Path, language: str, source: str) -> None:
    path = tmp_path / f"t.{language}"
    path.write_text(source)
    command = [*COMPILERS[language], *WARNINGS, f"-I{INCLUDE}", "-fsyntax-only", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]


def test_there_is_a_header_for_everything() -> None:
    assert {"Hypervisor.h", "hv.h", "hv_vmx.h", "hv_intr.h", "hv_error.h", "hv_arch_vmx.h"} <= set(HEADERS)


@pytest.mark.parametrize("language", COMPILERS)
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_stands_alone(tmp_path: Path, header: str, language: str) -> None:
    compiles(tmp_path, language, f"#include <Hypervisor/{header}>\n#include <Hypervisor/{header}>\nint n;\n")


def assertions() -> list[str]:
    """Each constant of the spec against its number, in the width that the calls take it."""
    values = [(name, value) for enum in SPEC["enum"] for name, value in enum["values"].items()]
    lines = [f"HV_ASSERT((uint64_t){name} == {value:#x}ULL, {name});" for name, value in values if value < 0xFAE9_4001]
    lines += [
        f"HV_ASSERT((uint32_t){name} == {value:#x}U, {name});" for name, value in values if value >> 8 == 0xFAE940
    ]
    lines += [f"HV_ASSERT((uint64_t){name} == {value:#x}ULL, {name});" for name, value in values if value > 0xFFFF_FFFF]
    assert len(lines) == len(values)
    return lines


@pytest.mark.parametrize("language", COMPILERS)
def test_every_constant_has_its_value(tmp_path: Path, language: str) -> None:
    compiles(tmp_path, language, "\n".join(["#include <Hypervisor/Hypervisor.h>", *assertions(), ""]))


@pytest.mark.parametrize("language", COMPILERS)
def test_every_type_has_its_width(tmp_path: Path, language: str) -> None:
    lines = ["#include <Hypervisor/Hypervisor.h>"]
    for typedef in SPEC["typedef"]:
        name, type_ = typedef["name"], typedef["type"]
        lines.append(f"HV_ASSERT(sizeof({name}) == sizeof({type_}), {name});")
        lines.append(f"extern {name} a_{name}; extern {type_} a_{name};")  # two types would not compile
    for struct in SPEC["struct"]:
        name = struct["name"] if struct["name"].endswith("_t") else f"struct {struct['name']}"
        lines.append(f"HV_ASSERT(sizeof({name}) == {struct['size']}, size);")
        lines += [
            f"HV_ASSERT(offsetof({name}, {field}) == {offset}, {field});"
            for (_, field), offset in zip(struct["fields"], struct["offsets"], strict=True)
        ]
    compiles(tmp_path, language, "\n".join([*lines, ""]))


@pytest.mark.parametrize("language", COMPILERS)
def test_every_function_is_declared(tmp_path: Path, language: str) -> None:
    calls = [f"    names[{n}] = (any_t){f['name']};" for n, f in enumerate(SPEC["function"])]
    head = ["#include <Hypervisor/Hypervisor.h>", "typedef void (*any_t)(void);", f"any_t names[{len(calls)}];"]
    source = "\n".join([*head, "void fill(void);", "void fill(void) {", *calls, "}", ""])
    compiles(tmp_path, language, source)


USE = """
#include <Hypervisor/Hypervisor.h>

static const uint64_t fields[] = {VMCS_GUEST_RIP, VMCS_GUEST_CS, VMCS_CTRL_EXC_BITMAP};
static const hv_vmx_capability_t words[] = {HV_VMX_CAP_PINBASED, HV_VMX_CAP_ENTRY};

const char *reason(uint64_t number);
const char *reason(uint64_t number) {
    switch (number) {
        case VMX_REASON_HLT: return "hlt";
        case VMX_REASON_EPT_VIOLATION: return "ept";
        default: return "other";
    }
}

int start(hv_vcpuid_t vcpu);
int start(hv_vcpuid_t vcpu) {
    uint64_t value = fields[0] + (uint64_t)words[1];
    if (hv_vm_create(HV_VM_DEFAULT) == HV_BUSY) return 1;
    switch (hv_vmx_vcpu_read_vmcs(vcpu, VMCS_GUEST_RIP, &value)) {
        case HV_SUCCESS: break;
        case HV_BAD_ARGUMENT: return 2;
        default: return HV_ERROR;
    }
    return hv_vmx_vcpu_write_vmcs(vcpu, VMCS_CTRL_CPU_BASED, value | CPU_BASED_HLT | CPU_BASED_SECONDARY_CTLS);
}
"""


@pytest.mark.parametrize("language", COMPILERS)
def test_constants_work_where_clients_use_them(tmp_path: Path, language: str) -> None:
    """In `switch`, in static arrays, compared with what a call returns."""
    compiles(tmp_path, language, USE)
