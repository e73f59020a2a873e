"""Makes include/Hypervisor/*.h, C11 and C++17, from spec/api/intel.toml: Apple's names, types and widths."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spec_api import ROOT, Api, Enum, Function, Struct, load

TARGET = ROOT / "include" / "Hypervisor"
INT_MAX = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True)
class Header:
    """What one header says, and what goes into it, by the groups and names of the spec."""

    doc: str
    includes: tuple[str, ...]
    typedefs: tuple[str, ...] = ()
    enums: tuple[str, ...] = ()
    structs: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # of functions
    functions: tuple[str, ...] = ()  # single ones of other groups


HEADERS = {
    "hv_base.h": Header("What the other headers stand on: standard types, and how functions are declared.", ()),
    "hv_error.h": Header(
        "What calls return.", ("hv_base.h",), typedefs=("hv_return_t",), enums=("hv_return_t",)
    ),
    "hv_kern_types.h": Header(
        "What a port notifier sends.",
        ("hv_base.h",),
        typedefs=("mach_port_t",),
        enums=("hv_ion_kernel_flags",),
        structs=("mach_msg_header_t", "mach_msg_trailer_t", "hv_ion_message_t"),
    ),
    "hv_types.h": Header(
        "Handles, addresses, and the flags of calls.",
        ("hv_base.h", "hv_kern_types.h"),
        typedefs=(
            "hv_vcpuid_t", "hv_uvaddr_t", "hv_gpaddr_t", "hv_vm_space_t", "hv_capability_t", "hv_vm_options_t",
            "hv_vcpu_options_t", "hv_memory_flags_t", "hv_allocate_flags_t", "hv_msr_flags_t", "hv_ion_flags_t",
        ),
        enums=(
            "hv_capability_t", "hv_vm_options_t", "hv_vcpu_options_t", "hv_memory_flags_t", "hv_allocate_flags_t",
            "hv_msr_flags_t", "hv_ion_flags_t",
        ),
        constants=("HV_DEADLINE_FOREVER", "HV_VM_SPACE_DEFAULT"),
    ),
    "hv_arch_x86.h": Header(
        "Registers and MSRs by number.", ("hv_base.h",), enums=("hv_x86_reg_t", "hv_msr")
    ),
    "hv_arch_vmx.h": Header(
        "VMCS fields, control bits, exit reasons and capabilities: Intel SDM vol. 3, the chapters on VMX.",
        ("hv_base.h",),
        typedefs=("hv_shadow_flags_t", "hv_vmx_msr_info_t"),
        enums=(
            "vmcs_field", "vmx_basic", "vmx_pin_based", "vmx_cpu_based", "vmx_cpu_based2", "vmx_ept_vpid",
            "vmx_vmexit_controls", "vmx_vmentry_controls", "vmx_reason", "irq_info", "hv_vmx_capability_t",
            "hv_vmx_msr_info_t", "hv_shadow_flags_t",
        ),
        constants=(
            "GUEST_INTRBILITY_STI_BLOCKING", "GUEST_INTRBILITY_MOVSS_BLOCKING", "GUEST_INTRBILITY_SMI_BLOCKING",
            "GUEST_INTRBILITY_NMI_BLOCKING",
        ),
    ),
    "hv.h": Header(
        "Virtual machines, their memory, and virtual processors.",
        ("hv_error.h", "hv_types.h", "hv_arch_x86.h"),
        groups=("vm", "space", "memory", "io", "vcpu", "registers", "msr", "timer"),
    ),
    "hv_vmx.h": Header(
        "The VMCS of a virtual processor, and what of it is there.",
        ("hv_error.h", "hv_types.h", "hv_arch_vmx.h"),
        groups=("vmcs",),
        functions=("hv_vmx_get_msr_info",),
    ),
    "hv_intr.h": Header(
        "Interrupt controllers of a VM made with HV_VM_ACCEL_APIC, and the exits that come with them.",
        ("hv_error.h", "hv_types.h", "hv_arch_x86.h"),
        enums=("hv_vm_exitinfo_t", "hv_apic_ctrl_t", "hv_apic_lvt_flavor_t", "hv_apic_intr_trigger_t", "hv_boot_state"),
        structs=(
            "hv_apic_state", "hv_apic_state_ext_t", "hv_atpic_state", "hv_atpic_state_ext_t", "hv_ioapic_state",
            "hv_ioapic_state_ext_t",
        ),
        constants=("HV_APIC_STATE_EXT_VER", "HV_ATPIC_STATE_EXT_VER", "HV_IOAPIC_STATE_EXT_VER"),
        groups=("apic", "exit"),
    ),
    "Hypervisor.h": Header(
        "All of the framework.", ("hv.h", "hv_vmx.h", "hv_intr.h", "hv_arch_x86.h", "hv_arch_vmx.h")
    ),
}  # fmt: skip

BASE = """
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define HV_BEGIN_DECLS extern "C" {
#define HV_END_DECLS }
#else
#define HV_BEGIN_DECLS
#define HV_END_DECLS
#endif

#ifdef __cplusplus
#define HV_ASSERT(condition, name) static_assert(condition, #name)
#else
#define HV_ASSERT(condition, name) _Static_assert(condition, #name)
#endif

/* Enumerators beyond int: every compiler of ours has them, ISO C knows them since C23. */
#if defined(__GNUC__) && !defined(__cplusplus)
#define HV_ENUM __extension__ enum
#else
#define HV_ENUM enum
#endif
"""


def comment(text: str, indent: str = "") -> str:
    """One C comment, wrapped."""
    head, *rest = textwrap.wrap(text, 112 - len(indent)) or [""]
    return "\n".join([f"{indent}/* {head}", *(f"{indent} * {line}" for line in rest)]) + " */"


def number(enum: str, value: int) -> str:
    """As C writes it: return codes are ints, what int cannot hold is unsigned."""
    if enum == "hv_return_t":
        return f"(int){value:#010x}" if value else "0"
    if value <= INT_MAX:
        return str(value) if value < 10 else f"{value:#x}"
    return f"{value:#x}" + ("U" if value <= 0xFFFF_FFFF else "ULL")


def enum_lines(enum: Enum) -> Iterator[str]:
    """The enum; where Apple's has a name, under it; where the name is an integer type, that beside it."""
    yield comment(enum.doc)
    body = [f"    {name} = {number(enum.name, value)}," for name, value in enum.values.items()]
    if enum.is_c_type:
        yield from ["typedef enum {", *body, f"}} {enum.name};"]
    elif enum.name == "hv_boot_state":
        yield from [f"HV_ENUM {enum.name} {{", *body, "};"]
    else:
        yield from ["HV_ENUM {", *body, "};"]
        if enum.own_type:
            yield f"typedef {enum.own_type} {enum.name};"
    yield ""


def field(ctype: str, name: str) -> str:
    """`uint32_t[8] isr` as C has it."""
    base, bracket, count = ctype.partition("[")
    return f"{base} {name}{bracket}{count}"


def struct_lines(struct: Struct) -> Iterator[str]:
    """The structure, and an assertion that its layout is Apple's."""
    yield comment(struct.doc)
    tag = struct.name if not struct.name.endswith("_t") else ""
    yield f"{'struct' if tag else 'typedef struct'}{' ' + tag if tag else ''} {{"
    yield from (f"    {field(ctype, name)};" for ctype, name in struct.fields)
    yield "};" if tag else f"}} {struct.name};"
    if tag:
        yield f"typedef struct {tag} {tag}_t;"
    yield f"HV_ASSERT(sizeof({'struct ' if tag else ''}{struct.name}) == {struct.size}, {struct.name});"
    yield ""


def function_lines(function: Function) -> Iterator[str]:
    """The prototype with what it does."""
    since = f"macOS {function.since}" + (f", deprecated in {function.until}" if function.until else "")
    yield comment(f"{function.summary} ({since})" + (f" {function.note}" if function.note else ""))
    params = ", ".join(f"{p.type}{'' if p.type.endswith('*') else ' '}{p.name}" for p in function.params)
    yield f"{function.returns} {function.name}({params or 'void'});"
    yield ""


def constant_line(api: Api, name: str) -> str:
    """A constant of a type of its own."""
    value, doc = api.integers[name]
    return f"{comment(doc)}\n#define {name} (({api.integer_types[name]}){value:#x}{'ULL' if value > INT_MAX else ''})"


def is_of(function: Function, header: Header) -> bool:
    """Whether the header declares it: by name, or by its group where no other header names it."""
    named = any(function.name in other.functions for other in HEADERS.values())
    return function.name in header.functions or (function.group in header.groups and not named)


def body(api: Api, header: Header) -> Iterator[str]:
    """What stands between a header's guards."""
    for name in header.typedefs:
        typedef = api.typedefs[name]
        if name not in header.enums:  # else the values say what it is
            yield comment(typedef.doc)
        yield f"typedef {typedef.type} {name};\n".replace("* " + name, "*" + name)
    by_enum = {enum.name: enum for enum in api.enums}
    for name in header.enums:
        yield from enum_lines(by_enum[name])
    for name in header.constants:
        yield constant_line(api, name)
        yield ""
    for struct in (s for s in api.structs if s.name in header.structs):
        yield from struct_lines(struct)
    if functions := [f for f in api.functions if is_of(f, header)]:
        yield "HV_BEGIN_DECLS\n"
        for function in functions:
            yield from function_lines(function)
        yield "HV_END_DECLS"
        yield ""


def header_text(api: Api, name: str, header: Header) -> str:
    """The whole file."""
    guard = f"HYPERVISOR_{name[:-2].upper()}_H"
    lines = [
        comment(
            f"{header.doc} Generated by `make docs` from spec/api/intel.toml (macOS 10.10 to {api.covers_up_to}): "
            "do not edit."
        ),
        f"#ifndef {guard}",
        f"#define {guard}",
        *(
            [BASE]
            if name == "hv_base.h"
            else ["", *(f"#include <Hypervisor/{other}>" for other in header.includes), ""]
        ),
        *body(api, header),
        f"#endif /* {guard} */",
    ]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def outputs() -> dict[Path, str]:
    """What this generator writes: file to text."""
    api = load("intel")
    placed = {name for header in HEADERS.values() for name in (*header.enums, *header.structs, *header.typedefs)}
    known = {enum.name for enum in api.enums} | {s.name for s in api.structs} | set(api.typedefs)
    if placed != known:
        raise SystemExit(
            f"gen_headers: these names of the spec have no header, or are not in it: {sorted(placed ^ known)}"
        )
    return {TARGET / name: header_text(api, name, header) for name, header in HEADERS.items()}
