"""Promises of Apple's functions: what makes an exit by the VM-execution controls, each with and without."""

from __future__ import annotations

import struct
from typing import Final

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, RawGuest, fails, raw_guest

TABLES: Final = 0x9000
BITMAP: Final = 0x4000
_HLT: Final = hv.CPU_BASED_HLT | hv.CPU_BASED_SECONDARY_CTLS


def proc(raw: RawGuest, bits: int) -> None:
    """Set the primary controls: these bits beside HLT exiting."""
    raw.control(hv.VMCS_CTRL_CPU_BASED, hv.HV_VMX_CAP_PROCBASED, _HLT | bits)


def proc2(raw: RawGuest, bits: int) -> None:
    """Set the secondary controls."""
    raw.control(hv.VMCS_CTRL_CPU_BASED2, hv.HV_VMX_CAP_PROCBASED2, bits)


def long_mode(raw: RawGuest) -> None:
    """64-bit code at `CODE`, the first 2 MiB mapped onto themselves by tables at `TABLES`."""
    for at, entry in ((TABLES, TABLES + 0x1007), (TABLES + 0x1000, TABLES + 0x2007), (TABLES + 0x2000, 0x87)):
        raw.ram[at : at + 8] = struct.pack("<Q", entry)
    raw.control(hv.VMCS_CTRL_VMENTRY_CONTROLS, hv.HV_VMX_CAP_ENTRY, hv.VMENTRY_GUEST_IA32E | hv.VMENTRY_LOAD_EFER)
    for field, value in (
        (hv.VMCS_GUEST_IA32_EFER, 0x500),
        (hv.VMCS_GUEST_CR3, TABLES),
        (hv.VMCS_GUEST_CR4, 0x2020),
        (hv.VMCS_GUEST_CR0, 0x8000_0021),
        (hv.VMCS_GUEST_CS_AR, 0xA09B),
        (hv.VMCS_GUEST_TR_AR, 0x8B),
    ):
        raw.write(field, value)


def seen(raw: RawGuest) -> tuple[int, int, int]:
    """Reason and instruction length of the last exit, and how far RIP is from the start."""
    return (
        raw.read(hv.VMCS_RO_EXIT_REASON),
        raw.read(hv.VMCS_RO_VMEXIT_INSTR_LEN),
        raw.reg(hv.HV_X86_RIP) - CODE,
    )


# 16-bit code, the bit of the primary controls, the reason, the instruction's length.
_BY_PRIMARY: Final = (
    ("0f013e0020", hv.CPU_BASED_INVLPG, hv.VMX_REASON_INVLPG, 5),
    ("0f01c9", hv.CPU_BASED_MWAIT, hv.VMX_REASON_MWAIT, 3),
    ("0f01c8", hv.CPU_BASED_MONITOR, hv.VMX_REASON_MONITOR, 3),
    ("0f31", hv.CPU_BASED_RDTSC, hv.VMX_REASON_RDTSC, 2),
    ("0f22d8", hv.CPU_BASED_CR3_LOAD, hv.VMX_REASON_MOV_CR, 3),
    ("0f20d8", hv.CPU_BASED_CR3_STORE, hv.VMX_REASON_MOV_CR, 3),
    ("0f21c0", hv.CPU_BASED_MOV_DR, hv.VMX_REASON_MOV_DR, 3),
    ("0f23c0", hv.CPU_BASED_MOV_DR, hv.VMX_REASON_MOV_DR, 3),
    ("f390", hv.CPU_BASED_PAUSE, hv.VMX_REASON_PAUSE, 2),
)


@promise
def instructions_exit_by_their_control(engine: str) -> None:
    """4.1, 4.18, 4.20: with its bit an instruction is an exit, RIP on it; without, it runs and the HLT behind exits."""
    for code, bit, reason, length in _BY_PRIMARY:
        with raw_guest(f"{code} f4") as raw:
            proc(raw, bit)
            raw.run()
            assert seen(raw) == (reason, length, 0), code
            proc(raw, 0)
            assert raw.run() == hv.VMX_REASON_HLT, code
            assert raw.reg(hv.HV_X86_RIP) == CODE + length, code


@promise
def performance_counters_exit_or_are_not_there(engine: str) -> None:
    """4.1, 4.20: RDPMC is exit 15 with its bit, else #GP, as there are no counters."""
    with raw_guest("0f33 f4") as raw:
        proc(raw, hv.CPU_BASED_RDPMC)
        assert raw.run() == hv.VMX_REASON_RDPMC
        proc(raw, 0)
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert raw.read(hv.VMCS_RO_VMEXIT_IRQ_INFO) & 0xFF == 13


@promise
def rdtscp_needs_its_control(engine: str) -> None:
    """4.1, 4.3: RDTSCP is #UD without its secondary control; with it and RDTSC exiting it is exit 51."""
    with raw_guest("0f01f9 f4") as raw:
        raw.exceptions()
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert raw.read(hv.VMCS_RO_VMEXIT_IRQ_INFO) == 0x8000_0306
        proc2(raw, hv.CPU_BASED2_RDTSCP)
        proc(raw, hv.CPU_BASED_RDTSC)
        assert raw.run() == hv.VMX_REASON_RDTSCP
        proc(raw, 0)
        assert raw.run() == hv.VMX_REASON_HLT


@promise
def wbinvd_exits_by_its_control(engine: str) -> None:
    """4.20: exit 54 with the secondary control, no exit without."""
    with raw_guest("0f09 f4") as raw:
        proc2(raw, hv.CPU_BASED2_WBINVD)
        raw.run()
        assert seen(raw) == (hv.VMX_REASON_WBINVD, 2, 0)
        proc2(raw, 0)
        assert raw.run() == hv.VMX_REASON_HLT


@promise
def descriptor_tables_exit_by_their_control(engine: str) -> None:
    """4.1, 4.17: exits 46 and 47 with displacement and instruction information; without the control they run."""
    real = (("0f01060020", 0), ("0f010e0020", 1), ("0f01160020", 2), ("0f011e0020", 3))
    for code, identity in real:
        with raw_guest(f"{code} f4") as raw:
            proc2(raw, hv.CPU_BASED2_DESC_TABLE)
            raw.run()
            assert seen(raw) == (hv.VMX_REASON_GDTR_IDTR, 5, 0), code
            assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == 0x2000
            info = raw.read(hv.VMCS_RO_VMX_INSTR_INFO)
            assert (info >> 28, info >> 15 & 7, info >> 7 & 7) == (identity, 3, 0), hex(info)
            assert info >> 22 & 1 and info >> 27 & 1, "neither index nor base"
            proc2(raw, 0)
            assert raw.run() == hv.VMX_REASON_HLT, code
    for code, identity in (("0f00c2", 0), ("0f00ca", 1), ("0f00d2", 2), ("0f00da", 3)):
        with raw_guest(f"{code} f4") as raw:
            long_mode(raw)
            proc2(raw, hv.CPU_BASED2_DESC_TABLE)
            raw.run()
            assert seen(raw) == (hv.VMX_REASON_LDTR_TR, 3, 0), code
            info = raw.read(hv.VMCS_RO_VMX_INSTR_INFO)
            assert (info >> 28, info >> 10 & 1, info >> 3 & 15) == (identity, 1, 2), hex(info)


@promise
def cr3_targets_do_not_exit(engine: str) -> None:
    """4.14: MOV to CR3 of one of the first CR3_COUNT target values runs; others exit with CR and register."""
    with raw_guest("0f22d9 f4") as raw:  # mov cr3, ecx
        proc(raw, hv.CPU_BASED_CR3_LOAD)
        raw.write(hv.VMCS_CTRL_CR3_VALUE1, 0x5000)
        raw.set(hv.HV_X86_RCX, 0x5000)
        raw.write(hv.VMCS_CTRL_CR3_COUNT, 1)
        assert raw.run() == hv.VMX_REASON_MOV_CR
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == 3 | 1 << 8
        raw.write(hv.VMCS_CTRL_CR3_COUNT, 2)
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_CR3) == 0x5000


@promise
def masked_bits_of_cr0_belong_to_the_host(engine: str) -> None:
    """4.14: reads give the shadow; MOV, CLTS and LMSW that would change a masked bit exit, others do not."""
    ts, qualification = 8, hv.VMCS_RO_EXIT_QUALIFIC
    with raw_guest("0f01e0 0f06 0f01f0 0f22c0 f4") as raw:  # smsw ax; clts; lmsw ax; mov cr0, eax
        raw.write(hv.VMCS_CTRL_CR0_MASK, ts | 0x20)
        raw.write(hv.VMCS_CTRL_CR0_SHADOW, ts)
        assert raw.run() == hv.VMX_REASON_MOV_CR
        assert (raw.reg(hv.HV_X86_RAX) & 0x2F, raw.read(qualification)) == (ts, 2 << 4)
        raw.write(hv.VMCS_CTRL_CR0_SHADOW, 0)
        assert raw.run() == hv.VMX_REASON_MOV_CR, "CLTS of a bit that reads 0 does nothing, LMSW would set it"
        assert raw.reg(hv.HV_X86_RIP) == CODE + 5
        assert raw.read(qualification) == 3 << 4 | (raw.reg(hv.HV_X86_RAX) & 0xFFFF) << 16
        raw.set(hv.HV_X86_RIP, CODE + 8)
        raw.set(hv.HV_X86_RAX, 0x28)
        assert raw.run() == hv.VMX_REASON_MOV_CR
        assert raw.read(qualification) == 0
        raw.write(hv.VMCS_CTRL_CR0_SHADOW, 0x28)
        raw.set(hv.HV_X86_RAX, 0x2C)
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_CR0) & 0x2C == 0x24, "masked bits stay, EM has changed"


@promise
def masked_bits_of_cr4_belong_to_the_host(engine: str) -> None:
    """4.14: the guest reads VMXE as its shadow says, and clears it without an exit where that is what it reads."""
    with raw_guest("0f20e0 0f22e0 f4") as raw:  # mov eax, cr4; mov cr4, eax
        raw.write(hv.VMCS_CTRL_CR4_MASK, 0x2000)
        assert raw.run() == hv.VMX_REASON_HLT
        assert (raw.reg(hv.HV_X86_RAX) & 0x2000, raw.reg(hv.HV_X86_CR4) & 0x2000) == (0, 0x2000)
        raw.set(hv.HV_X86_RIP, CODE + 3)
        raw.set(hv.HV_X86_RAX, 0x2000)
        assert raw.run() == hv.VMX_REASON_MOV_CR
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == 4


@promise
def cr8_exits_by_its_controls(engine: str) -> None:
    """4.16: MOV to and from CR8 exit by their bits; without, HV_X86_TPR holds CR8 in bits 7:4."""
    for code, bit, qualification in (
        ("440f22c0", hv.CPU_BASED_CR8_LOAD, 8),
        ("440f20c0", hv.CPU_BASED_CR8_STORE, 8 | 1 << 4),
    ):
        with raw_guest(f"{code} f4") as raw:
            long_mode(raw)
            proc(raw, bit)
            raw.run()
            assert seen(raw) == (hv.VMX_REASON_MOV_CR, 4, 0)
            assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == qualification
    with raw_guest("440f22c0 f4") as raw:
        long_mode(raw)
        raw.set(hv.HV_X86_RAX, 7)
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_TPR) == 0x70


@promise
@covers(hv_vcpu_run="ERROR")
def the_task_priority_has_a_threshold(engine: str) -> None:
    """4.16: with a TPR shadow, exit 43 behind the instruction that takes the priority below the threshold."""
    with raw_guest("440f22c0 f4") as raw:
        long_mode(raw)
        raw.set(hv.HV_X86_TPR, 0x60)
        raw.set(hv.HV_X86_RAX, 4)
        raw.write(hv.VMCS_CTRL_TPR_THRESHOLD, 5)
        proc(raw, hv.CPU_BASED_TPR_SHADOW)
        assert raw.run() == hv.VMX_REASON_TPR_THRESHOLD
        assert (raw.reg(hv.HV_X86_RIP), raw.reg(hv.HV_X86_TPR)) == (CODE + 4, 0x40)
        fails(hv.HV_ERROR, raw.run, "TPR_THRESHOLD")
        raw.write(hv.VMCS_CTRL_TPR_THRESHOLD, 4)
        raw.set(hv.HV_X86_RIP, CODE)
        assert raw.run() == hv.VMX_REASON_HLT
        proc(raw, 0)
        raw.write(hv.VMCS_CTRL_TPR_THRESHOLD, 9)
        raw.set(hv.HV_X86_RIP, CODE)
        assert raw.run() == hv.VMX_REASON_HLT, "without the shadow there is no threshold"


@promise
def io_bitmaps_choose_the_ports(engine: str) -> None:
    """4.1, 4.21: with bitmaps a port exits by its bit; one that does not reads all ones. Without, every port exits."""
    with raw_guest("e461 e7ff ba0090 ec f4") as raw:  # in al, 0x61; out 0xff, ax; mov dx, 0x9000; in al, dx
        raw.ram[BITMAP : BITMAP + 0x2000] = bytes(0x2000)
        raw.ram[BITMAP + 0x100 // 8] = 1  # port 0x100: the second half of the access at 0xFF
        raw.ram[BITMAP + 0x1000 + 0x1000 // 8] = 1  # port 0x9000
        raw.write(hv.VMCS_CTRL_IO_BITMAP_A, BITMAP)
        raw.write(hv.VMCS_CTRL_IO_BITMAP_B, BITMAP + 0x1000)
        assert raw.run() == hv.VMX_REASON_IO
        assert raw.reg(hv.HV_X86_RIP) == CODE
        proc(raw, hv.CPU_BASED_IO_BITMAPS)
        assert raw.run() == hv.VMX_REASON_IO
        assert (raw.reg(hv.HV_X86_RIP), raw.reg(hv.HV_X86_RAX)) == (CODE + 2, 0xFF)
        raw.set(hv.HV_X86_RIP, CODE + 4)
        assert raw.run() == hv.VMX_REASON_IO
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == 0x9000_0008
        raw.ram[BITMAP + 0x1000 + 0x1000 // 8] = 0
        assert raw.run() == hv.VMX_REASON_HLT


@promise
def msr_bitmaps_choose_the_msrs(engine: str) -> None:
    """4.28: with a bitmap an MSR exits by its bit for either direction; without, all but the native ones exit."""
    with raw_guest("0f32 0f30 f4") as raw:
        raw.ram[BITMAP : BITMAP + 0x1000] = bytes(0x1000)
        raw.ram[BITMAP + 3072 + 0x82 // 8] = 1 << (0x82 % 8)  # WRMSR of LSTAR
        raw.write(hv.VMCS_CTRL_MSR_BITMAPS, BITMAP)
        raw.set(hv.HV_X86_RCX, hv.HV_MSR_IA32_LSTAR)
        assert raw.run() == hv.VMX_REASON_RDMSR
        proc(raw, hv.CPU_BASED_MSR_BITMAPS)
        assert raw.run() == hv.VMX_REASON_WRMSR
        raw.ram[BITMAP + 3072 + 0x82 // 8] = 0
        assert raw.run() == hv.VMX_REASON_HLT


@promise
def string_ports_say_where(engine: str) -> None:
    """4.21: INS and OUTS give the linear address, and address size and segment in the instruction information."""
    for code, linear, segment in (("266e", 0xE006, 0), ("6c", 0xE007, 0), ("6e", 6, 3)):
        with raw_guest(f"{code} f4") as raw:
            raw.write(hv.VMCS_GUEST_ES_BASE, 0xE000)
            raw.set(hv.HV_X86_RSI, 6)
            raw.set(hv.HV_X86_RDI, 7)
            assert raw.run() == hv.VMX_REASON_IO
            assert raw.read(hv.VMCS_RO_GUEST_LIN_ADDR) == linear, code
            info = raw.read(hv.VMCS_RO_VMX_INSTR_INFO)
            assert info >> 7 & 7 == 0
            assert code == "6c" or info >> 15 & 7 == segment, "the SDM leaves it open for INS"


@promise
def the_monitor_trap_stops_between_iterations(engine: str) -> None:
    """4.26: after each iteration of REP, and before the first instruction of an injected event's handler."""
    with raw_guest("f3aa f4") as raw:
        proc(raw, hv.CPU_BASED_MTF)
        raw.set(hv.HV_X86_RCX, 3)
        raw.set(hv.HV_X86_RDI, 0x3000)
        for left in (2, 1, 0):
            assert raw.run() == hv.VMX_REASON_MTF
            assert raw.reg(hv.HV_X86_RCX) == left
        raw.write(hv.VMCS_CTRL_VMENTRY_IRQ_INFO, 0x8000_0202)
        raw.ram[8:12] = struct.pack("<HH", 0x2000, 0)
        assert raw.run() == hv.VMX_REASON_MTF
        assert raw.reg(hv.HV_X86_RIP) == 0x2000


@promise
@covers(hv_tsc_clock="SUCCESS", hv_vmx_read_capability="SUCCESS")
def the_preemption_timer_ends_a_run(engine: str) -> None:
    """4.20, 4.1: exit 52 when it has counted down; its value is saved only where the exit control says so."""
    with raw_guest("ebfe f4") as raw:
        shift = hv.hv_vmx_read_capability(hv.HV_VMX_CAP_MISC) & 0x1F
        raw.write(hv.VMCS_GUEST_VMX_TIMER_VALUE, 2_000_000 >> shift)
        raw.control(hv.VMCS_CTRL_PIN_BASED, hv.HV_VMX_CAP_PINBASED, hv.PIN_BASED_PREEMPTION_TIMER)
        before = hv.hv_tsc_clock()
        assert raw.run() == hv.VMX_REASON_VMX_TIMER_EXPIRED
        assert hv.hv_tsc_clock() - before >= 1_900_000
        assert raw.read(hv.VMCS_GUEST_VMX_TIMER_VALUE) == 2_000_000 >> shift
        raw.control(hv.VMCS_CTRL_VMEXIT_CONTROLS, hv.HV_VMX_CAP_EXIT, hv.VMEXIT_SAVE_VMX_TIMER)
        assert raw.run() == hv.VMX_REASON_VMX_TIMER_EXPIRED
        assert raw.read(hv.VMCS_GUEST_VMX_TIMER_VALUE) == 0
        raw.write(hv.VMCS_GUEST_VMX_TIMER_VALUE, 0xFFFF_FFFF)
        raw.set(hv.HV_X86_RIP, CODE + 2)
        assert raw.run() == hv.VMX_REASON_HLT
        assert 0xF000_0000 < raw.read(hv.VMCS_GUEST_VMX_TIMER_VALUE) < 0xFFFF_FFFF


@promise
@covers(hv_vmx_vcpu_set_apic_address="SUCCESS BAD_ARGUMENT")
def the_apic_page_exits(engine: str) -> None:
    """4.33: accesses to the page of hv_vmx_vcpu_set_apic_address are exit 44 with offset and kind, by their control."""
    cases = (("a08030", 0x0080), ("a28030", 0x1080), ("e9fd1f", 0x2000))  # load, store, jmp 0x3000
    for code, qualification in cases:
        with raw_guest(f"{code} f4") as raw:
            raw.ram[0x3000] = 0xF4
            hv.hv_vmx_vcpu_set_apic_address(raw.vcpu, 0x3000)
            proc2(raw, hv.CPU_BASED2_VIRTUAL_APIC)
            assert raw.run() == hv.VMX_REASON_APIC_ACCESS, code
            assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == qualification, code
            raw.set(hv.HV_X86_RIP, CODE)
            proc2(raw, 0)
            assert raw.run() == hv.VMX_REASON_HLT, code
    with raw_guest("a08030 f4") as raw:
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vmx_vcpu_set_apic_address(raw.vcpu, 0x3004), "0x3004")
        hv.hv_vmx_vcpu_set_apic_address(raw.vcpu, 0x3000)
        proc2(raw, hv.CPU_BASED2_VIRTUAL_APIC)
        proc(raw, hv.CPU_BASED_TPR_SHADOW)
        raw.set(hv.HV_X86_TPR, 0x50)
        assert raw.run() == hv.VMX_REASON_HLT, "with a TPR shadow the task priority is the guest's own"
        assert raw.reg(hv.HV_X86_RAX) & 0xFF == 0x50


# 64-bit code, the reason, and from the instruction information the register operands: the one that may be memory, and
# the other; None where there is none.
_VMX: Final = (
    ("0f01c2", hv.VMX_REASON_VMLAUNCH, None, None),
    ("0f01c3", hv.VMX_REASON_VMRESUME, None, None),
    ("0f01c4", hv.VMX_REASON_VMOFF, None, None),
    ("0fc73425 00200000", hv.VMX_REASON_VMPTRLD, None, None),
    ("0fc73c25 00200000", hv.VMX_REASON_VMPTRST, None, None),
    ("660fc73425 00200000", hv.VMX_REASON_VMCLEAR, None, None),
    ("f30fc73425 00200000", hv.VMX_REASON_VMON, None, None),
    ("0f78d1", hv.VMX_REASON_VMREAD, 1, 2),  # vmread rcx, rdx
    ("0f79d1", hv.VMX_REASON_VMWRITE, 1, 2),  # vmwrite rdx, rcx
    ("660f38801425 00200000", hv.VMX_REASON_EPT_INVEPT, None, 2),
    ("660f38811425 00200000", hv.VMX_REASON_INVVPID, None, 2),
)


@promise
def the_instructions_of_vmx_always_exit(engine: str) -> None:
    """4.17, 4.20: in 64-bit mode each has its reason, length and operands; in real mode they are #UD."""
    for code, reason, first, other in _VMX:
        with raw_guest(f"{code} f4") as raw:
            raw.exceptions()
            long_mode(raw)
            raw.run()
            assert seen(raw) == (reason, len(bytes.fromhex(code)), 0), code
            memory = len(bytes.fromhex(code)) > 5
            assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == (0x2000 if memory else 0), code
            info = raw.read(hv.VMCS_RO_VMX_INSTR_INFO)
            assert first is None or (info >> 10 & 1, info >> 3 & 15) == (1, first), hex(info)
            assert other is None or info >> 28 == other, hex(info)
    with raw_guest("0f01c2") as raw:
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert raw.read(hv.VMCS_RO_VMEXIT_IRQ_INFO) == 0x8000_0306


@promise
def invd_always_exits(engine: str) -> None:
    """4.20: exit 13, whatever the controls say."""
    with raw_guest("0f08 f4") as raw:
        raw.run()
        assert seen(raw) == (hv.VMX_REASON_INVD, 2, 0)


@promise
def invpcid_needs_its_control(engine: str) -> None:
    """4.1, 4.3: #UD without the secondary control; with INVLPG exiting it is exit 58 with its operands."""
    with raw_guest("660f38821425 00200000 f4") as raw:  # invpcid rdx, [0x2000]
        raw.exceptions()
        long_mode(raw)
        raw.set(hv.HV_X86_RDX, 2)
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert raw.read(hv.VMCS_RO_VMEXIT_IRQ_INFO) == 0x8000_0306
        proc2(raw, hv.CPU_BASED2_INVPCID)
        proc(raw, hv.CPU_BASED_INVLPG)
        assert raw.run() == hv.VMX_REASON_INVPCID
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == 0x2000
        assert raw.read(hv.VMCS_RO_VMX_INSTR_INFO) >> 28 == 2
        proc(raw, 0)
        assert raw.run() == hv.VMX_REASON_HLT
