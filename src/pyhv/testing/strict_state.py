"""Promises of Apple's functions: registers, floating-point state, MSRs."""

from __future__ import annotations

from functools import partial

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, fails, raw_guest

U64 = (1 << 64) - 1
# Intel SDM vol. 4, "Architectural MSRs"; those that the VMCS has a guest-state field for.
_FIELD_MSRS = {
    "EFER": 0xC000_0080,
    "PAT": 0x277,
    "SYSENTER_CS": 0x174,
    "SYSENTER_EIP": 0x176,
    "DEBUGCTL": 0x1D9,
    "FS_BASE": 0xC000_0100,
    "GS_BASE": 0xC000_0101,
}


@promise
@covers(hv_vcpu_read_register="SUCCESS BAD_ARGUMENT", hv_vcpu_write_register="SUCCESS BAD_ARGUMENT")
def registers_round_trip(engine: str) -> None:
    """3.9: every general register takes 64 bits; unknown ids and values that do not fit are HV_BAD_ARGUMENT."""
    with raw_guest("f4") as raw:
        for reg in range(hv.HV_X86_RAX, hv.HV_X86_R15 + 1):
            raw.set(reg, U64 - reg)
        assert [raw.reg(reg) for reg in range(hv.HV_X86_RAX, hv.HV_X86_R15 + 1)] == [U64 - reg for reg in range(2, 18)]
        fails(hv.HV_BAD_ARGUMENT, lambda: raw.reg(hv.HV_X86_REGISTERS_MAX), "51")
        fails(hv.HV_BAD_ARGUMENT, lambda: raw.set(1000, 0), "1000")
        fails(hv.HV_BAD_ARGUMENT, lambda: raw.set(hv.HV_X86_RAX, 1 << 64))
        fails(hv.HV_BAD_ARGUMENT, lambda: raw.reg(-1))


@promise
@covers(hv_vcpu_read_register="SUCCESS", hv_vcpu_write_register="SUCCESS")
def every_register_has_its_width(engine: str) -> None:
    """4.9, 4.10, 4.11, 4.16: all ones and a pattern come back cut to the width; fixed bits of RFLAGS, DR6, DR7 stay."""
    odd = {  # bits that can be set, bits that always are; of XCR0 see `xcr0_takes_what_the_host_has`
        hv.HV_X86_CR1: (0, 0),
        hv.HV_X86_DR6: (0xE00F, 0xFFFF_0FF0),
        hv.HV_X86_DR7: (0xFFFF_23FF, 0x400),
        hv.HV_X86_TPR: (0xF0, 0),
        hv.HV_X86_RFLAGS: (U64, 2),
    }
    with raw_guest("f4") as raw:
        for reg in hv.hv_x86_reg_t:
            if reg in {hv.HV_X86_XCR0, hv.HV_X86_REGISTERS_MAX}:
                continue
            may, fixed = odd.get(reg, (_width(reg.name), 0))
            for value in (0x5A5A, U64, 0):
                raw.set(reg, value)
                assert raw.reg(reg) == value & may | fixed, f"{reg.name} = {value:#x}"


def _width(name: str) -> int:
    """By the name: selectors have 16 bits, limits and access rights 32."""
    short = name.removeprefix("HV_X86_")
    if short in {"CS", "SS", "DS", "ES", "FS", "GS", "LDTR", "TR"}:
        return 0xFFFF
    return 0xFFFF_FFFF if short.endswith(("_LIMIT", "_AR")) else U64


@promise
@covers(
    hv_vcpu_read_register="SUCCESS",
    hv_vcpu_write_register="SUCCESS",
    hv_vmx_vcpu_read_vmcs="SUCCESS",
    hv_vmx_vcpu_write_vmcs="SUCCESS",
)
def registers_and_vmcs_are_one_state(engine: str) -> None:
    """4.9: the same registers through both doors; a selector changes nothing else."""
    pairs = (
        (hv.HV_X86_RIP, hv.VMCS_GUEST_RIP, 0x1234),
        (hv.HV_X86_RSP, hv.VMCS_GUEST_RSP, 0x7000),
        (hv.HV_X86_RFLAGS, hv.VMCS_GUEST_RFLAGS, 0x246),
        (hv.HV_X86_CR3, hv.VMCS_GUEST_CR3, 0x5000),
        (hv.HV_X86_CS, hv.VMCS_GUEST_CS, 0x1B),
        (hv.HV_X86_GS, hv.VMCS_GUEST_GS, 0x33),
        (hv.HV_X86_IDT_BASE, hv.VMCS_GUEST_IDTR_BASE, 0x6000),
        (hv.HV_X86_GDT_LIMIT, hv.VMCS_GUEST_GDTR_LIMIT, 0x7F),
        (hv.HV_X86_LDT_BASE, hv.VMCS_GUEST_LDTR_BASE, 0x8000),
        (hv.HV_X86_TSS_AR, hv.VMCS_GUEST_TR_AR, 0x8B),
    )
    with raw_guest("f4") as raw:
        raw.write(hv.VMCS_GUEST_CS_BASE, 0x7770)
        for reg, field, value in pairs:
            raw.set(reg, value)
            assert raw.read(field) == value, hv.hv_x86_reg_t(reg).name
            raw.write(field, value ^ 2)
            assert raw.reg(reg) == value ^ 2, hv.hv_x86_reg_t(reg).name
        assert raw.read(hv.VMCS_GUEST_CS_BASE) == 0x7770


@promise
def selectors_survive_a_run(engine: str) -> None:
    """4.9: arbitrary selector values are still there after the guest has run."""
    with raw_guest("90 f4") as raw:
        for reg in (hv.HV_X86_DS, hv.HV_X86_ES, hv.HV_X86_FS, hv.HV_X86_GS):
            raw.set(reg, 0xFFF8 - reg)
        assert raw.run() == hv.VMX_REASON_HLT
        assert [raw.reg(reg) for reg in (hv.HV_X86_DS, hv.HV_X86_GS)] == [0xFFF8 - hv.HV_X86_DS, 0xFFF8 - hv.HV_X86_GS]


@promise
@covers(hv_vcpu_read_register="SUCCESS", hv_vcpu_write_register="SUCCESS")
def debug_registers_round_trip(engine: str) -> None:
    """4.11: DR0 to DR3, DR6 with its fixed bits, DR7 0x400."""
    with raw_guest("f4") as raw:
        for number in range(4):
            raw.set(hv.HV_X86_DR0 + number, 0x1000 * (number + 1))
        assert [raw.reg(hv.HV_X86_DR0 + number) for number in range(4)] == [0x1000, 0x2000, 0x3000, 0x4000]
        assert raw.reg(hv.HV_X86_DR6) == 0xFFFF_0FF0
        assert raw.reg(hv.HV_X86_DR7) == raw.read(hv.VMCS_GUEST_DR7) == 0x400


@promise
def debug_registers_are_the_guests(engine: str) -> None:
    """4.11: what the guest loads the client reads, and the reverse; DR6 and DR7 keep their fixed bits."""
    with raw_guest("660f23c0 660f23f3 660f23fb 660f21ca 660f21f1 f4") as raw:  # dr0=eax; dr6, dr7=ebx; edx=dr1; ecx=dr6
        raw.set(hv.HV_X86_RAX, 0x1234)
        raw.set(hv.HV_X86_RBX, 0)
        raw.set(hv.HV_X86_DR1, 0x5678)
        raw.set(hv.HV_X86_DR7, 0x401)
        assert raw.run() == hv.VMX_REASON_HLT
        assert (raw.reg(hv.HV_X86_DR0), raw.reg(hv.HV_X86_RDX)) == (0x1234, 0x5678)
        assert raw.reg(hv.HV_X86_DR6) == raw.reg(hv.HV_X86_RCX) == 0xFFFF_0FF0
        assert raw.reg(hv.HV_X86_DR7) == raw.read(hv.VMCS_GUEST_DR7) == 0x400


@promise
@covers(hv_vcpu_read_register="SUCCESS", hv_vcpu_write_register="SUCCESS")
def xcr0_takes_what_the_host_has(engine: str) -> None:
    """4.13: bits of XCR0 without a meaning here do not stick, x87 always does; the guest reads the same by XGETBV."""
    with raw_guest("0f01d0 f4") as raw:
        raw.write(hv.VMCS_GUEST_CR4, 0x4_2000)
        for value, kept in ((3, 3), (1, 1), (1 << 62 | 3, 3), (0, 1)):
            raw.set(hv.HV_X86_XCR0, value)
            assert raw.reg(hv.HV_X86_XCR0) == kept, hex(value)
            raw.set(hv.HV_X86_RCX, 0)
            raw.set(hv.HV_X86_RIP, CODE)
            assert raw.run() == hv.VMX_REASON_HLT
            assert raw.reg(hv.HV_X86_RAX) == kept


@promise
@covers(hv_vcpu_read_fpstate="SUCCESS BAD_ARGUMENT", hv_vcpu_write_fpstate="SUCCESS BAD_ARGUMENT")
def fpstate_is_an_xsave_image(engine: str) -> None:
    """4.13: 512 bytes are the legacy area, more is the standard image, padded; below 512 is HV_BAD_ARGUMENT."""
    with raw_guest("f4") as raw:
        legacy = hv.hv_vcpu_read_fpstate(raw.vcpu, 512)
        assert len(legacy) == 512
        whole = hv.hv_vcpu_read_fpstate(raw.vcpu, 4096)
        assert len(whole) == 4096
        assert whole[:512] == legacy
        assert legacy[0:2] == b"\x7f\x03"  # FCW after FNINIT or RESET: 0x037F (or 0x0040)
        changed = bytearray(whole)
        changed[160:176] = bytes(range(16))  # XMM0
        changed[512] |= 2  # XSTATE_BV: SSE
        hv.hv_vcpu_write_fpstate(raw.vcpu, changed, 4096)
        assert hv.hv_vcpu_read_fpstate(raw.vcpu, 512)[160:176] == bytes(range(16))
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_read_fpstate(raw.vcpu, 511))
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_write_fpstate(raw.vcpu, bytes(100), 512), "100")


@promise
@covers(hv_vcpu_read_fpstate="SUCCESS", hv_vcpu_write_fpstate="SUCCESS")
def what_an_fpstate_leaves_out_is_initial(engine: str) -> None:
    """4.13: a part whose bit of XSTATE_BV is clear comes back as after a reset, whatever its bytes are; MXCSR is taken.

    SDM vol. 1, "Standard Form of XRSTOR".
    """
    with raw_guest("f4") as raw:
        image = bytearray(hv.hv_vcpu_read_fpstate(raw.vcpu, 4096))
        image[0:2] = b"\x7f\x02"  # FCW
        image[32:42], image[160:176] = bytes(range(10)), bytes(range(16))
        image[24:26] = b"\x80\x3f"  # MXCSR: round down
        initial = {"x87": b"\x7f\x03" + bytes(10), "sse": bytes(16)}
        loaded = {"x87": b"\x7f\x02" + bytes(range(10)), "sse": bytes(range(16))}
        for present in (3, 0, 1, 3, 2):
            image[512] = present
            hv.hv_vcpu_write_fpstate(raw.vcpu, image, 4096)
            now = hv.hv_vcpu_read_fpstate(raw.vcpu, 4096)
            assert now[0:2] + now[32:42] == (loaded if present & 1 else initial)["x87"], present
            assert now[160:176] == (loaded if present & 2 else initial)["sse"], present
            assert now[24:26] == b"\x80\x3f"


@promise
@covers(hv_vcpu_read_fpstate="SUCCESS", hv_vcpu_write_fpstate="SUCCESS BAD_ARGUMENT")
def an_fpstate_that_xrstor_refuses_is_refused(engine: str) -> None:
    """4.13: reserved bits of MXCSR, XSTATE_BV, XCOMP_BV and the header are HV_BAD_ARGUMENT, and nothing has changed.

    SDM vol. 1, "Standard Form of XRSTOR".
    """
    with raw_guest("f4") as raw:
        whole = hv.hv_vcpu_read_fpstate(raw.vcpu, 4096)
        hv.hv_vcpu_write_fpstate(raw.vcpu, whole, 4096)
        for offset, value, size, word in (
            (26, 0x01, 512, "MXCSR"),  # bit 16
            (26, 0x01, 4096, "MXCSR"),
            (512, 0x0B, 4096, "XSTATE_BV"),
            (519, 0x80, 4096, "XSTATE_BV"),
            (520, 0x01, 4096, "XCOMP_BV"),
            (527, 0x80, 4096, "XCOMP_BV"),
            (528, 0x01, 4096, "header"),
            (535, 0x01, 4096, "header"),
        ):
            image = bytearray(whole)
            image[160] = 0x77
            image[offset] = value
            fails(hv.HV_BAD_ARGUMENT, partial(hv.hv_vcpu_write_fpstate, raw.vcpu, image, size), word)
            assert hv.hv_vcpu_read_fpstate(raw.vcpu, 4096) == whole, word


@promise
@covers(hv_vcpu_enable_native_msr="SUCCESS", hv_vcpu_read_msr="SUCCESS")
def msrs_exit_unless_native(engine: str) -> None:
    """4.27, 4.28: not enabled is exit 31 or 32; enabled is no exit, the value kept, and read_msr sees it."""
    with raw_guest("0f30 0f32 f4") as raw:
        raw.set(hv.HV_X86_RCX, hv.HV_MSR_IA32_LSTAR)
        raw.set(hv.HV_X86_RAX, 0x1111_2222)
        raw.set(hv.HV_X86_RDX, 0x3333)
        assert raw.run() == hv.VMX_REASON_WRMSR
        hv.hv_vcpu_enable_native_msr(raw.vcpu, hv.HV_MSR_IA32_LSTAR, True)
        assert raw.run() == hv.VMX_REASON_HLT
        assert hv.hv_vcpu_read_msr(raw.vcpu, hv.HV_MSR_IA32_LSTAR) == 0x3333_1111_2222
        hv.hv_vcpu_enable_native_msr(raw.vcpu, hv.HV_MSR_IA32_LSTAR, False)
        raw.set(hv.HV_X86_RIP, CODE + 2)
        assert raw.run() == hv.VMX_REASON_RDMSR


@promise
def msrs_with_a_field_exit_too(engine: str) -> None:
    """4.27: RDMSR of EFER, PAT, SYSENTER, DEBUGCTL and the bases exits like any other; the field has the value."""
    with raw_guest("0f32") as raw:
        for name in ("EFER", "PAT", "SYSENTER_CS", "SYSENTER_EIP", "DEBUGCTL", "FS_BASE", "GS_BASE"):
            raw.set(hv.HV_X86_RCX, _FIELD_MSRS[name])
            assert raw.run() == hv.VMX_REASON_RDMSR, name
            assert raw.reg(hv.HV_X86_RIP) == CODE
        raw.write(hv.VMCS_GUEST_IA32_PAT, 0x0606_0606_0606_0606)
        raw.write(hv.VMCS_GUEST_FS_BASE, 0x5000)
        assert hv.hv_vcpu_read_msr(raw.vcpu, _FIELD_MSRS["PAT"]) == 0x0606_0606_0606_0606
        assert hv.hv_vcpu_read_msr(raw.vcpu, _FIELD_MSRS["FS_BASE"]) == 0x5000


@promise
@covers(
    hv_vcpu_enable_native_msr="SUCCESS BAD_ARGUMENT", hv_vcpu_read_msr="BAD_ARGUMENT", hv_vcpu_write_msr="BAD_ARGUMENT"
)
def the_native_msrs_are_those_that_clients_ask_for(engine: str) -> None:
    """4.28: the list of MSRs that can be native; others are HV_BAD_ARGUMENT, FLUSH_CMD among them."""
    names = ("STAR", "LSTAR", "CSTAR", "FMASK", "KERNEL_GS_BASE", "FS_BASE", "GS_BASE", "TSC", "TSC_AUX")
    more = ("SYSENTER_CS", "SYSENTER_ESP", "SYSENTER_EIP", "SPEC_CTRL", "PRED_CMD", "XSS")
    with raw_guest("f4") as raw:
        for name in names + more:
            hv.hv_vcpu_enable_native_msr(raw.vcpu, getattr(hv, f"HV_MSR_IA32_{name}"), True)
        fails(
            hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_enable_native_msr(raw.vcpu, hv.HV_MSR_IA32_FLUSH_CMD, True), "0x10b"
        )
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_read_msr(raw.vcpu, 0x1_2345), "0x12345")
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_write_msr(raw.vcpu, 0x1_2345, 0))


@promise
@covers(hv_vcpu_enable_native_msr="SUCCESS", hv_vcpu_read_msr="SUCCESS")
def native_msrs_keep_their_value(engine: str) -> None:
    """4.28: what the guest writes the client reads, and the reverse; a command can be written only."""
    with raw_guest("0f30 0f32 f4") as raw:
        for name, value in (
            ("STAR", 0x23 << 48),
            ("TSC_AUX", 7),
            ("SPEC_CTRL", 1),
            ("XSS", 0),
            ("FS_BASE", 0x1234_5000),
        ):
            msr = getattr(hv, f"HV_MSR_IA32_{name}")
            hv.hv_vcpu_enable_native_msr(raw.vcpu, msr, True)
            raw.set(hv.HV_X86_RCX, msr)
            raw.set(hv.HV_X86_RAX, value & 0xFFFF_FFFF)
            raw.set(hv.HV_X86_RDX, value >> 32)
            raw.set(hv.HV_X86_RIP, CODE)
            assert raw.run() == hv.VMX_REASON_HLT, name
            assert hv.hv_vcpu_read_msr(raw.vcpu, msr) == value, name
            assert raw.reg(hv.HV_X86_RDX) << 32 | raw.reg(hv.HV_X86_RAX) == value, name
        raw.exceptions()
        hv.hv_vcpu_enable_native_msr(raw.vcpu, hv.HV_MSR_IA32_PRED_CMD, True)
        raw.set(hv.HV_X86_RCX, hv.HV_MSR_IA32_PRED_CMD)
        raw.set(hv.HV_X86_RAX, 1)
        raw.set(hv.HV_X86_RDX, 0)
        raw.set(hv.HV_X86_RIP, CODE)
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert raw.reg(hv.HV_X86_RIP) == CODE + 2, "the write is done, the read is #GP"


@promise
@covers(hv_vmx_get_msr_info="SUCCESS BAD_ARGUMENT")
def msr_information_is_honest(engine: str) -> None:
    """4.29: no performance or last-branch MSRs are offered; unknown questions are HV_BAD_ARGUMENT."""
    for field in range(9):
        assert hv.hv_vmx_get_msr_info(field) == 0
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vmx_get_msr_info(9))
