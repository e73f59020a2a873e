"""MSR numbers by name. SDM vol. 4, "Architectural MSRs"; the names go without the prefix IA32_."""

from __future__ import annotations

from typing import Final

MSRS: Final[dict[str, int]] = {
    "TSC": 0x10,
    "APIC_BASE": 0x1B,
    "SPEC_CTRL": 0x48,
    "PRED_CMD": 0x49,
    "BIOS_SIGN_ID": 0x8B,
    "MTRRCAP": 0xFE,
    "ARCH_CAPABILITIES": 0x10A,
    "FLUSH_CMD": 0x10B,
    "SYSENTER_CS": 0x174,
    "SYSENTER_ESP": 0x175,
    "SYSENTER_EIP": 0x176,
    "MCG_CAP": 0x179,
    "MCG_STATUS": 0x17A,
    "MISC_ENABLE": 0x1A0,
    "DEBUGCTL": 0x1D9,
    "PAT": 0x277,
    "MTRR_DEF_TYPE": 0x2FF,
    "XSS": 0xDA0,
    "EFER": 0xC000_0080,
    "STAR": 0xC000_0081,
    "LSTAR": 0xC000_0082,
    "CSTAR": 0xC000_0083,
    "FMASK": 0xC000_0084,
    "FS_BASE": 0xC000_0100,
    "GS_BASE": 0xC000_0101,
    "KERNEL_GS_BASE": 0xC000_0102,
    "TSC_AUX": 0xC000_0103,
}

NATIVE: Final = frozenset(
    MSRS[name]
    for name in (
        *("STAR", "LSTAR", "CSTAR", "FMASK", "KERNEL_GS_BASE", "FS_BASE", "GS_BASE", "TSC", "TSC_AUX"),
        *("SYSENTER_CS", "SYSENTER_ESP", "SYSENTER_EIP", "SPEC_CTRL", "PRED_CMD", "XSS"),
    )
)
"""MSRs that hv_vcpu_enable_native_msr takes: what clients and Apple's own tests ask for. FLUSH_CMD is refused."""

MANAGED: Final = NATIVE - {MSRS["TSC"], MSRS["PRED_CMD"]}
"""MSRs that hv_vcpu_enable_managed_msr takes: those of NATIVE that are values of the vCPU's own."""

UNCOUNTED: Final = frozenset(
    {
        *range(0xC1, 0xC9),  # PMCn
        *range(0x186, 0x18E),  # PERFEVTSELn
        *range(0x309, 0x30D),  # FIXED_CTRn
        *(0x329, 0x38D, 0x38E, 0x38F, 0x390, 0x391, 0x392),  # PERF_METRICS, FIXED_CTR_CTRL, PERF_GLOBAL_*
        *range(0x4C1, 0x4C9),  # A_PMCn
        *(0x1C8, 0x1C9, 0x1DD, 0x1DE),  # LBR_SELECT, LASTBRANCH_TOS, LER_FROM_LIP, LER_TO_LIP
        *range(0x680, 0x6A0),  # LASTBRANCH_n_FROM_IP
        *range(0x6C0, 0x6E0),  # LASTBRANCH_n_TO_IP
        *range(0xDC0, 0xDE0),  # LASTBRANCH_INFO_n
    }
)
"""Performance counters and last-branch records: the software CPU has neither."""

STATE: Final = ("SPEC_CTRL", "STAR", "LSTAR", "CSTAR", "FMASK", "KERNEL_GS_BASE", "TSC_AUX", "APIC_BASE", "MISC_ENABLE")
"""MSRs that belong to a saved vCPU beside its VMCS fields (EFER, PAT, SYSENTER and segment bases are among those)."""


def msr_number(name: str) -> int:
    """The number of an MSR name, in any case, with or without IA32_. Raises KeyError."""
    return MSRS[name.upper().removeprefix("IA32_")]
