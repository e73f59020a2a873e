"""Promises of Apple's functions: the shadow VMCS, and managed MSRs."""

from __future__ import annotations

from typing import Final

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, RawGuest, fails, in_thread, raw_guest
from .strict_vmx import long_mode, proc2

LSTAR: Final = 0xC000_0082
LAST_BRANCH: Final = 0x1C9
READ_WRITE: Final = hv.HV_SHADOW_VMCS_READ | hv.HV_SHADOW_VMCS_WRITE
VMREAD: Final = "0f78d1 f4"  # vmread rcx, rdx; hlt
VMWRITE: Final = "0f79d1 f4"  # vmwrite rdx, rcx; hlt
ARITHMETIC: Final = 0x8D5


def again(raw: RawGuest, field: int, value: int = 0) -> int:
    """Run from `CODE` with RDX = the field, RCX = the value, all arithmetic flags set; the exit reason."""
    raw.set(hv.HV_X86_RIP, CODE)
    raw.set(hv.HV_X86_RDX, field)
    raw.set(hv.HV_X86_RCX, value)
    raw.set(hv.HV_X86_RFLAGS, ARITHMETIC | 2)
    return raw.run()


@promise
@covers(hv_vmx_read_capability="SUCCESS")
def shadowing_is_offered_and_optional(engine: str) -> None:
    """4.34, 4.3: the capability bit is there, it may be 0, and VMWRITE to every field is announced with it."""
    word = hv.hv_vmx_read_capability(hv.HV_VMX_CAP_PROCBASED2)
    assert word >> 32 & hv.CPU_BASED2_VMCS_SHADOW
    assert not word & hv.CPU_BASED2_VMCS_SHADOW
    assert hv.hv_vmx_read_capability(hv.HV_VMX_CAP_MISC) >> 29 & 1


@promise
@covers(
    hv_vmx_vcpu_read_shadow_vmcs="SUCCESS BAD_ARGUMENT",
    hv_vmx_vcpu_set_shadow_access="SUCCESS BAD_ARGUMENT",
    hv_vmx_vcpu_write_shadow_vmcs="SUCCESS BAD_ARGUMENT",
)
def the_shadow_is_a_vmcs_of_its_own(engine: str) -> None:
    """4.34, 4.8: every field can be written and read, cut to its width, without an effect on the vCPU's own."""
    with raw_guest("f4") as raw:
        rip = raw.read(hv.VMCS_GUEST_RIP)
        for field, kept in (
            (hv.VMCS_GUEST_ES, 0xCDEF),
            (hv.VMCS_GUEST_IA32_EFER, 0x1234_5678_89AB_CDEF),
            (hv.VMCS_RO_EXIT_REASON, 0x89AB_CDEF),
            (hv.VMCS_GUEST_RIP, 0x1234_5678_89AB_CDEF),
            (hv.VMCS_CTRL_EPTP, 0x1234_5678_89AB_CDEF),
            (hv.VMCS_HOST_RIP, 0x1234_5678_89AB_CDEF),
        ):
            assert hv.hv_vmx_vcpu_read_shadow_vmcs(raw.vcpu, field) == 0
            hv.hv_vmx_vcpu_write_shadow_vmcs(raw.vcpu, field, 0x1234_5678_89AB_CDEF)
            assert hv.hv_vmx_vcpu_read_shadow_vmcs(raw.vcpu, field) == kept
        assert raw.read(hv.VMCS_GUEST_RIP) == rip
        hv.hv_vmx_vcpu_set_shadow_access(raw.vcpu, hv.VMCS_CTRL_EPTP, READ_WRITE)
        for call in (
            lambda: hv.hv_vmx_vcpu_read_shadow_vmcs(raw.vcpu, 0x7FFE),
            lambda: hv.hv_vmx_vcpu_write_shadow_vmcs(raw.vcpu, 0x801, 0),
            lambda: hv.hv_vmx_vcpu_set_shadow_access(raw.vcpu, 0x7FFE, READ_WRITE),
            lambda: hv.hv_vmx_vcpu_set_shadow_access(raw.vcpu, hv.VMCS_GUEST_ES, 4),
            lambda: in_thread(lambda: hv.hv_vmx_vcpu_read_shadow_vmcs(raw.vcpu, hv.VMCS_GUEST_ES)),
        ):
            fails(hv.HV_BAD_ARGUMENT, call)


@promise
@covers(hv_vmx_vcpu_set_shadow_access="SUCCESS", hv_vmx_vcpu_write_shadow_vmcs="SUCCESS")
def vmread_is_served_from_the_shadow(engine: str) -> None:
    """4.34: without an exit where the control is set and the field granted, read-only fields too; flags are cleared."""
    with raw_guest(VMREAD) as raw:
        long_mode(raw)
        field = hv.VMCS_RO_EXIT_REASON
        hv.hv_vmx_vcpu_write_shadow_vmcs(raw.vcpu, field, 0x8000_0021)
        hv.hv_vmx_vcpu_set_shadow_access(raw.vcpu, field, hv.HV_SHADOW_VMCS_READ)
        assert again(raw, field) == hv.VMX_REASON_VMREAD  # the control is off
        proc2(raw, hv.CPU_BASED2_VMCS_SHADOW)
        assert again(raw, field, 0x1111) == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_RCX) == 0x8000_0021
        assert raw.reg(hv.HV_X86_RFLAGS) & ARITHMETIC == 0
        assert again(raw, hv.VMCS_GUEST_RIP) == hv.VMX_REASON_VMREAD  # not granted
        assert again(raw, field | 1 << 15) == hv.VMX_REASON_VMREAD  # beyond the bitmaps
        assert again(raw, field | 1 << 63) == hv.VMX_REASON_VMREAD
        hv.hv_vmx_vcpu_set_shadow_access(raw.vcpu, field, hv.HV_SHADOW_VMCS_WRITE)
        assert again(raw, field) == hv.VMX_REASON_VMREAD


@promise
@covers(hv_vmx_vcpu_read_shadow_vmcs="SUCCESS", hv_vmx_vcpu_set_shadow_access="SUCCESS")
def vmwrite_goes_into_the_shadow(engine: str) -> None:
    """4.34: the client reads what the guest wrote; access by field and kind; high halves by themselves."""
    with raw_guest(VMWRITE) as raw:
        long_mode(raw)
        proc2(raw, hv.CPU_BASED2_VMCS_SHADOW)
        field, high = hv.VMCS_GUEST_IA32_EFER, hv.VMCS_GUEST_IA32_EFER + 1
        assert again(raw, field, 1) == hv.VMX_REASON_VMWRITE
        assert hv.hv_vmx_vcpu_read_shadow_vmcs(raw.vcpu, field) == 0
        hv.hv_vmx_vcpu_set_shadow_access(raw.vcpu, field, hv.HV_SHADOW_VMCS_WRITE)
        assert again(raw, field, 0x1_2345_6789) == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_RFLAGS) & ARITHMETIC == 0
        assert hv.hv_vmx_vcpu_read_shadow_vmcs(raw.vcpu, field) == 0x1_2345_6789
        assert again(raw, high, 0xABCD) == hv.VMX_REASON_VMWRITE
        hv.hv_vmx_vcpu_set_shadow_access(raw.vcpu, high, hv.HV_SHADOW_VMCS_WRITE)
        assert again(raw, high, 0xABCD) == hv.VMX_REASON_HLT
        assert hv.hv_vmx_vcpu_read_shadow_vmcs(raw.vcpu, field) == 0xABCD_2345_6789
        assert hv.hv_vmx_vcpu_read_shadow_vmcs(raw.vcpu, high) == 0xABCD
        assert raw.read(field) == 0x500
        hv.hv_vmx_vcpu_set_shadow_access(raw.vcpu, field, hv.HV_SHADOW_VMCS_NONE)
        assert again(raw, field, 2) == hv.VMX_REASON_VMWRITE


@promise
@covers(hv_vm_protect="SUCCESS", hv_vmx_vcpu_set_shadow_access="SUCCESS", hv_vmx_vcpu_write_shadow_vmcs="SUCCESS")
def the_shadow_reaches_memory_and_faults(engine: str) -> None:
    """4.34: memory operands; a fault of theirs, or CPL 3, is the guest's; in real mode there is no VMREAD."""
    with raw_guest("0f781425 00300000 0f791425 00300000 f4") as raw:  # vmread [0x3000], rdx; vmwrite rdx, [0x3000]
        long_mode(raw)
        proc2(raw, hv.CPU_BASED2_VMCS_SHADOW)
        hv.hv_vmx_vcpu_set_shadow_access(raw.vcpu, hv.VMCS_GUEST_ES, READ_WRITE)
        hv.hv_vmx_vcpu_write_shadow_vmcs(raw.vcpu, hv.VMCS_GUEST_ES, 0x77)
        raw.ram[0x3000:0x3008] = b"\xff" * 8
        assert again(raw, hv.VMCS_GUEST_ES) == hv.VMX_REASON_HLT
        assert raw.ram[0x3000:0x3008] == b"\x77" + bytes(7)
        hv.hv_vm_protect(0x3000, 0x1000, hv.HV_MEMORY_READ)
        assert again(raw, hv.VMCS_GUEST_ES) == hv.VMX_REASON_EPT_VIOLATION
        assert raw.reg(hv.HV_X86_RFLAGS) & ARITHMETIC == ARITHMETIC
        hv.hv_vm_protect(0x3000, 0x1000, 7)
        raw.write(hv.VMCS_GUEST_CS_AR, 0xA0FB)
        raw.write(hv.VMCS_GUEST_SS_AR, 0xC0F3)
        raw.write(hv.VMCS_GUEST_CS, 0x1B)
        raw.write(hv.VMCS_GUEST_SS, 0x23)
        assert again(raw, hv.VMCS_GUEST_ES) == hv.VMX_REASON_EXC_NMI
        assert (raw.read(hv.VMCS_RO_VMEXIT_IRQ_INFO), raw.reg(hv.HV_X86_RIP)) == (0x8000_0B0D, CODE)
    with raw_guest("0f78d1") as raw:
        proc2(raw, hv.CPU_BASED2_VMCS_SHADOW)
        hv.hv_vmx_vcpu_set_shadow_access(raw.vcpu, hv.VMCS_GUEST_ES, READ_WRITE)
        assert again(raw, hv.VMCS_GUEST_ES) == hv.VMX_REASON_EXC_NMI
        assert raw.read(hv.VMCS_RO_VMEXIT_IRQ_INFO) == 0x8000_0306


@promise
@covers(
    hv_vcpu_enable_managed_msr="SUCCESS",
    hv_vcpu_read_msr="SUCCESS",
    hv_vcpu_set_msr_access="SUCCESS",
    hv_vcpu_write_msr="SUCCESS",
)
def a_managed_msr_exits_as_its_access_says(engine: str) -> None:
    """4.29: bound, every access exits; READ and WRITE let one kind through; unbound, all exit."""
    for code, flag, reason in (
        ("0f32f4", hv.HV_MSR_READ, hv.VMX_REASON_RDMSR),
        ("0f30f4", hv.HV_MSR_WRITE, hv.VMX_REASON_WRMSR),
    ):
        with raw_guest(code) as raw:
            hv.hv_vcpu_write_msr(raw.vcpu, LSTAR, 0x42)
            hv.hv_vcpu_enable_managed_msr(raw.vcpu, LSTAR, True)
            for flags in (0, flag, flag ^ 3, 3, 0):
                hv.hv_vcpu_set_msr_access(raw.vcpu, LSTAR, flags)
                raw.set(hv.HV_X86_RIP, CODE)
                raw.set(hv.HV_X86_RCX, LSTAR)
                raw.set(hv.HV_X86_RAX, 0x42)
                raw.set(hv.HV_X86_RDX, 0)
                assert raw.run() == (hv.VMX_REASON_HLT if flags & flag else reason), flags
            hv.hv_vcpu_set_msr_access(raw.vcpu, LSTAR, hv.HV_MSR_READ | hv.HV_MSR_WRITE)
            hv.hv_vcpu_enable_managed_msr(raw.vcpu, LSTAR, False)
            raw.set(hv.HV_X86_RIP, CODE)
            assert raw.run() == reason
            assert hv.hv_vcpu_read_msr(raw.vcpu, LSTAR) == 0x42


@promise
@covers(
    hv_vcpu_enable_managed_msr="SUCCESS BAD_ARGUMENT UNSUPPORTED",
    hv_vcpu_set_msr_access="BAD_ARGUMENT",
    hv_vmx_get_msr_info="SUCCESS",
)
def what_cannot_be_managed_is_refused(engine: str) -> None:
    """4.29: last-branch records and counters, which MSR info says there are none of, are HV_UNSUPPORTED, not kept."""
    with raw_guest("f4") as raw:
        assert hv.hv_vmx_get_msr_info(hv.HV_VMX_VALID_MSR_IA32_DEBUGCTL) == 0
        for msr in (LAST_BRANCH, hv.HV_MSR_IA32_PMC0, hv.HV_MSR_LASTBRANCH_31_TO_IP):
            fails(hv.HV_UNSUPPORTED, lambda msr=msr: hv.hv_vcpu_enable_managed_msr(raw.vcpu, msr, True))  # type: ignore[misc]
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_enable_managed_msr(raw.vcpu, 0x1234_5678, True), "0x12345678")
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_set_msr_access(raw.vcpu, LSTAR, 1), "not managed")
        hv.hv_vcpu_enable_managed_msr(raw.vcpu, LSTAR, True)
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_set_msr_access(raw.vcpu, LSTAR, 4))
        hv.hv_vcpu_enable_managed_msr(raw.vcpu, LSTAR, False)
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_set_msr_access(raw.vcpu, LSTAR, 1))
