"""Promises of Apple's functions: what an entry checks, injects and takes up, and what an exit says about events."""

from __future__ import annotations

import struct
from typing import Final

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, HOLE, RawGuest, fails, raw_guest
from .strict_vmx import TABLES, long_mode, proc

FAILED: Final = 1 << 31 | hv.VMX_REASON_VMENTRY_GUEST
HANDLER: Final = 0x2000
_NMIS: Final = hv.PIN_BASED_NMI | hv.PIN_BASED_VIRTUAL_NMI
_INFO, _ERROR = hv.VMCS_RO_VMEXIT_IRQ_INFO, hv.VMCS_RO_VMEXIT_IRQ_ERROR
_VECTORING: Final = hv.VMCS_RO_IDT_VECTOR_INFO
_INJECT: Final = hv.VMCS_CTRL_VMENTRY_IRQ_INFO


def vector(raw: RawGuest, number: int, handler: str = "f4") -> None:
    """Let a real-mode vector lead to `HANDLER`, with this code there."""
    raw.ram[number * 4 : number * 4 + 4] = struct.pack("<HH", HANDLER, 0)
    code = bytes.fromhex(handler)
    raw.ram[HANDLER : HANDLER + len(code)] = code


# Guest state that cannot be entered: what is wrong, in real mode unless said otherwise.
_BAD_STATE: Final = (
    (hv.VMCS_GUEST_CR0, 0x8000_0020),  # paging without protection
    (hv.VMCS_GUEST_CR0, 0),  # NE is fixed
    (hv.VMCS_GUEST_CR4, 0),  # VMXE is fixed
    (hv.VMCS_GUEST_CR4, 0x8000_2000),
    (hv.VMCS_GUEST_CR3, 1 << 60),
    (hv.VMCS_GUEST_CS_AR, 0x93 & ~0x80),  # not present
    (hv.VMCS_GUEST_CS_AR, 0x97),  # neither code nor writable data
    (hv.VMCS_GUEST_CS_AR, 0x1_009B),
    (hv.VMCS_GUEST_CS_LIMIT, 0x10_0000),  # needs granularity
    (hv.VMCS_GUEST_CS_BASE, 1 << 32),
    (hv.VMCS_GUEST_SS_AR, 0xB3),  # privilege level 1 in real mode
    (hv.VMCS_GUEST_SS_AR, 0x91),  # not writable
    (hv.VMCS_GUEST_DS_AR, 0x92),  # not accessed
    (hv.VMCS_GUEST_DS_AR, 0x99),  # code that cannot be read
    (hv.VMCS_GUEST_ES_AR, 0x193),  # reserved bit
    (hv.VMCS_GUEST_FS_BASE, 1 << 50),
    (hv.VMCS_GUEST_TR_AR, 0x89),  # not busy
    (hv.VMCS_GUEST_TR_AR, 0x1_008B),  # unusable
    (hv.VMCS_GUEST_TR, 4),  # in the local table
    (hv.VMCS_GUEST_LDTR_AR, 0x83),
    (hv.VMCS_GUEST_GDTR_LIMIT, 0x1_0000),
    (hv.VMCS_GUEST_IDTR_BASE, 1 << 50),
    (hv.VMCS_GUEST_RIP, 1 << 32),
    (hv.VMCS_GUEST_RFLAGS, 0),
    (hv.VMCS_GUEST_RFLAGS, 0x8002),
    (hv.VMCS_GUEST_RFLAGS, 0x2_0002),  # VM in real mode
    (hv.VMCS_GUEST_ACTIVITY_STATE, 4),
    (hv.VMCS_GUEST_INTERRUPTIBILITY, 3),
    (hv.VMCS_GUEST_INTERRUPTIBILITY, 1),  # by STI, with IF 0
    (hv.VMCS_GUEST_INTERRUPTIBILITY, 0x20),
    (hv.VMCS_GUEST_DEBUG_EXC, 0x10),
    (hv.VMCS_GUEST_SYSENTER_ESP, 1 << 50),
    (hv.VMCS_GUEST_IA32_DEBUGCTL, 1 << 20),
    (hv.VMCS_GUEST_LINK_POINTER, 0),
)


@promise
def bad_guest_state_is_exit_33(engine: str) -> None:
    """3.8, 4.17, 4.20: the run succeeds, the reason is 33 with bit 31, the guest has not moved; put right, it runs."""
    with raw_guest("f4") as raw:
        debug = hv.VMENTRY_LOAD_DBG_CONTROLS
        raw.control(hv.VMCS_CTRL_VMENTRY_CONTROLS, hv.HV_VMX_CAP_ENTRY, debug)
        for field, value in _BAD_STATE:
            good = raw.read(field)
            raw.write(field, value)
            assert raw.run() == FAILED, f"{hv.vmcs_field(field).name} = {value:#x}"
            assert raw.read(field) == value
            link = field == hv.VMCS_GUEST_LINK_POINTER
            assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == (4 if link else 0)
            raw.write(field, good)
            assert raw.run() == hv.VMX_REASON_HLT, f"{hv.vmcs_field(field).name} = {good:#x} again"


@promise
def long_mode_must_be_whole(engine: str) -> None:
    """4.12, 4.15: EFER, CR0, CR4 and the entry control have to agree."""
    for field, value in (
        (hv.VMCS_GUEST_IA32_EFER, 0x100),
        (hv.VMCS_GUEST_IA32_EFER, 0),
        (hv.VMCS_GUEST_IA32_EFER, 0x502),
        (hv.VMCS_GUEST_CR4, 0x2000),
        (hv.VMCS_GUEST_CR0, 0x21),
        (hv.VMCS_GUEST_CS_AR, 0xE09B),
        (hv.VMCS_GUEST_TR_AR, 0x83),
        (hv.VMCS_GUEST_RIP, 1 << 50),
    ):
        with raw_guest("f4") as raw:
            long_mode(raw)
            raw.write(field, value)
            assert raw.run() == FAILED, f"{hv.vmcs_field(field).name} = {value:#x}"
    with raw_guest("f4") as raw:
        long_mode(raw)
        raw.control(hv.VMCS_CTRL_VMENTRY_CONTROLS, hv.HV_VMX_CAP_ENTRY, hv.VMENTRY_LOAD_EFER)
        assert raw.run() == FAILED, "EFER.LMA without the entry control"


@promise
def a_change_of_mode_shows_in_the_fields(engine: str) -> None:
    """4.15: the guest turns on long mode by itself: EFER.LMA and the entry control read back updated, and off again."""
    with raw_guest("0f22c0 f4 0f22c2 f4") as raw:  # mov cr0, eax; hlt; mov cr0, edx; hlt, as 32-bit code
        long_mode(raw)
        raw.control(hv.VMCS_CTRL_VMENTRY_CONTROLS, hv.HV_VMX_CAP_ENTRY, hv.VMENTRY_LOAD_EFER)
        raw.write(hv.VMCS_GUEST_IA32_EFER, 0x100)
        raw.write(hv.VMCS_GUEST_CR0, 0x21)
        raw.write(hv.VMCS_GUEST_CS_AR, 0xC09B)
        raw.set(hv.HV_X86_RAX, 0x8000_0021)
        raw.set(hv.HV_X86_RDX, 0x21)
        for efer, ia32e in ((0x500, int(hv.VMENTRY_GUEST_IA32E)), (0x100, 0)):
            assert raw.run() == hv.VMX_REASON_HLT
            assert raw.read(hv.VMCS_GUEST_IA32_EFER) == efer
            assert raw.read(hv.VMCS_CTRL_VMENTRY_CONTROLS) & hv.VMENTRY_GUEST_IA32E == ia32e
            raw.set(hv.HV_X86_RIP, CODE + 4)


@promise
def pdptes_follow_cr3(engine: str) -> None:
    """4.15: in PAE paging a load of CR3 shows in the PDPTE fields."""
    with raw_guest("0f22d8 f4") as raw:
        for table in (0xA000, 0xA020):
            raw.ram[table : table + 8] = struct.pack("<Q", 0xB001)
        raw.ram[0xA028:0xA030] = struct.pack("<Q", 0xC001)
        raw.ram[0xB000:0xB008] = struct.pack("<Q", 0x83)
        raw.write(hv.VMCS_GUEST_CS_AR, 0xC09B)
        raw.write(hv.VMCS_GUEST_CR3, 0xA000)
        raw.write(hv.VMCS_GUEST_CR4, 0x2020)
        raw.write(hv.VMCS_GUEST_CR0, 0x8000_0021)
        raw.write(hv.VMCS_GUEST_PDPTE0, 0xB001)
        raw.set(hv.HV_X86_RAX, 0xA020)
        assert raw.run() == hv.VMX_REASON_HLT
        assert (raw.read(hv.VMCS_GUEST_PDPTE0), raw.read(hv.VMCS_GUEST_PDPTE1)) == (0xB001, 0xC001)


# Controls that contradict each other: what is set, and a word of the error.
_BAD_CONTROLS: Final = (
    (((hv.VMCS_CTRL_PIN_BASED, 0x20),), "VIRTUAL_NMI"),
    (((hv.VMCS_CTRL_CPU_BASED, 1 << 22),), "NMI_WND"),
    (((hv.VMCS_CTRL_VMEXIT_CONTROLS, 1 << 22),), "TIMER"),
    (((hv.VMCS_CTRL_CR3_COUNT, 5),), "CR3_COUNT"),
    (((hv.VMCS_CTRL_VMEXIT_MSR_STORE_COUNT, 1),), "MSR areas"),
    (((hv.VMCS_CTRL_VMENTRY_MSR_LOAD_COUNT, 1),), "MSR areas"),
    (((hv.VMCS_CTRL_CPU_BASED, 1 << 25), (hv.VMCS_CTRL_IO_BITMAP_A, 0x10)), "IO_BITMAP"),
    (((hv.VMCS_CTRL_CPU_BASED, 1 << 28), (hv.VMCS_CTRL_MSR_BITMAPS, 0x10)), "MSR_BITMAPS"),
    (((hv.VMCS_CTRL_CPU_BASED, 1 << 21), (hv.VMCS_CTRL_TPR_THRESHOLD, 16)), "TPR_THRESHOLD"),
    (((_INJECT, 0x8000_0121),), "type 1"),
    (((_INJECT, 0x8000_1021),), "reserved"),
    (((_INJECT, 0x8000_0203),), "NMI"),
    (((_INJECT, 0x8000_0320),), "exception"),
    (((_INJECT, 0x8000_0B0D),), "error code"),  # real mode pushes none
    (((_INJECT, 0x8000_0421), (hv.VMCS_CTRL_VMENTRY_INSTR_LEN, 16)), "INSTR_LEN"),
)


@promise
@covers(hv_vcpu_run="ERROR", hv_vcpu_vmx_status="SUCCESS")
def controls_that_contradict_are_an_error(engine: str) -> None:
    """3.8, 4.25: HV_ERROR with the rule's name, ZF as VMX status, error 7; an event that was to be injected stays."""
    for writes, word in _BAD_CONTROLS:
        with raw_guest("f4") as raw:
            for field, value in writes:
                controls = field in (hv.VMCS_CTRL_PIN_BASED, hv.VMCS_CTRL_CPU_BASED, hv.VMCS_CTRL_VMEXIT_CONTROLS)
                raw.write(field, raw.read(field) | value if controls else value)
            injected = raw.read(_INJECT)
            fails(hv.HV_ERROR, raw.run, word)
            assert hv.hv_vcpu_vmx_status(raw.vcpu) == 1 << 6
            assert raw.read(hv.VMCS_RO_INSTR_ERROR) == 7
            assert (raw.reg(hv.HV_X86_RIP), raw.read(_INJECT)) == (CODE, injected)


@promise
def every_kind_of_event_is_injected(engine: str) -> None:
    """4.25, 4.24: external, NMI, exceptions and software events; the last ones return behind their instruction."""
    for info, back in (
        (0x8000_0021, 0),
        (0x8000_0202, 0),
        (0x8000_0306, 0),
        (0x8000_0421, 2),
        (0x8000_0501, 2),
        (0x8000_0603, 2),
    ):
        with raw_guest("9090 f4") as raw:
            vector(raw, info & 0xFF)
            raw.set(hv.HV_X86_RFLAGS, 0x202)
            raw.write(_INJECT, info)
            raw.write(hv.VMCS_CTRL_VMENTRY_INSTR_LEN, 2)
            assert raw.run() == hv.VMX_REASON_HLT, "what is injected is not intercepted, all exceptions exit here"
            assert (raw.reg(hv.HV_X86_RIP), raw.read(_INJECT)) == (HANDLER, info & 0x7FFF_FFFF), hex(info)
            assert bytes(raw.ram[0x7FFA:0x7FFC]) == struct.pack("<H", CODE + back), hex(info)
            assert raw.read(hv.VMCS_GUEST_INTERRUPTIBILITY) == (8 if info == 0x8000_0202 else 0)


@promise
def an_injected_page_fault_leaves_cr2(engine: str) -> None:
    """4.25, 4.19: CR2 is the client's; the error code is pushed in protected mode."""
    with raw_guest("f4") as raw:
        long_mode(raw)
        raw.write(hv.VMCS_GUEST_IDTR_BASE, 0x5000)
        raw.write(hv.VMCS_GUEST_GDTR_BASE, 0x6000)
        raw.ram[0x6008:0x6010] = struct.pack("<Q", 0x00AF_9B00_0000_FFFF)
        raw.ram[0x50E0:0x50F0] = struct.pack("<HHHHQ", HANDLER, 8, 0x8E00, 0, 0)
        raw.ram[HANDLER] = 0xF4
        raw.set(hv.HV_X86_CR2, 0x1234)
        raw.write(_INJECT, 0x8000_0B0E)
        raw.write(hv.VMCS_CTRL_VMENTRY_EXC_ERROR, 6)
        assert raw.run() == hv.VMX_REASON_HLT
        assert (raw.reg(hv.HV_X86_RIP), raw.reg(hv.HV_X86_CR2)) == (HANDLER, 0x1234)
        stack = raw.reg(hv.HV_X86_RSP)
        assert struct.unpack("<Q", raw.ram[stack : stack + 8]) == (6,)


@promise
def what_cannot_be_taken_is_not_injected(engine: str) -> None:
    """4.25: an interrupt with IF 0 or a shadow, an NMI under MOV SS or NMI blocking: exit 33, the event stays."""
    cases = (
        (0x8000_0021, 2, 0, 0),
        (0x8000_0021, 0x202, 1, 0),
        (0x8000_0021, 0x202, 2, 0),
        (0x8000_0202, 2, 2, 3),
        (0x8000_0202, 2, 8, 0),
    )
    for info, flags, blocking, qualification in cases:
        with raw_guest("f4") as raw:
            raw.control(hv.VMCS_CTRL_PIN_BASED, hv.HV_VMX_CAP_PINBASED, _NMIS)
            raw.set(hv.HV_X86_RFLAGS, flags)
            raw.write(hv.VMCS_GUEST_INTERRUPTIBILITY, blocking)
            raw.write(_INJECT, info)
            assert raw.run() == FAILED
            assert (raw.read(_INJECT), raw.read(hv.VMCS_RO_EXIT_QUALIFIC)) == (info, qualification)


@promise
@covers(hv_vcpu_interrupt="SUCCESS")
def a_kick_does_not_lose_the_event(engine: str) -> None:
    """3.3, 4.25: a vCPU kicked before it enters has taken the event when it leaves, in front of the handler."""
    with raw_guest("90 f4") as raw:
        vector(raw, 0x21)
        raw.set(hv.HV_X86_RFLAGS, 0x202)
        raw.write(_INJECT, 0x8000_0021)
        hv.hv_vcpu_interrupt([raw.vcpu], 1)
        assert raw.run() == hv.VMX_REASON_IRQ
        assert (raw.reg(hv.HV_X86_RIP), raw.read(_INJECT) >> 31) == (HANDLER, 0)


@promise
def the_event_under_delivery_is_told(engine: str) -> None:
    """4.24, 4.23: a fault or an EPT violation in delivering an event gives it in the vectoring info; #DF does not."""
    with raw_guest("90 f4") as raw:
        raw.exceptions()
        raw.set(hv.HV_X86_RFLAGS, 0x202)
        raw.write(hv.VMCS_GUEST_IDTR_LIMIT, 0)
        raw.write(_INJECT, 0x8000_0021)
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert (raw.read(_INFO) & 0x8000_07FF, raw.read(_VECTORING)) == (0x8000_030D, 0x8000_0021)
        raw.write(hv.VMCS_GUEST_IDTR_LIMIT, 0x3FF)
        raw.write(hv.VMCS_GUEST_SS_BASE, HOLE)
        raw.write(_INJECT, 0x8000_0021)
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        assert raw.read(_VECTORING) == 0x8000_0021
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) & 0x187 == 0x182
    with raw_guest("cd21") as raw:
        raw.write(hv.VMCS_GUEST_IDTR_LIMIT, 0)
        raw.write(hv.VMCS_CTRL_EXC_BITMAP, 1 << 8)  # #GP goes to the guest, and becomes #DF
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert (raw.read(_INFO) & 0xFF, raw.read(_VECTORING) >> 31) == (8, 0)


@promise
def page_faults_exit_by_mask_and_match(engine: str) -> None:
    """4.19: bit 14 counts where error & mask == match, else inverted."""
    for bitmap, mask, match, leaves in (
        (1 << 14, 1, 0, True),
        (1 << 14, 1, 1, False),
        (0, 1, 1, True),
        (0, 0, 0, False),
    ):
        with raw_guest("a00000004000000000 f4") as raw:  # mov al, [0x40000000]
            long_mode(raw)
            raw.write(hv.VMCS_GUEST_IDTR_LIMIT, 0)
            raw.write(hv.VMCS_CTRL_EXC_BITMAP, bitmap)
            raw.write(hv.VMCS_CTRL_PF_ERROR_MASK, mask)
            raw.write(hv.VMCS_CTRL_PF_ERROR_MATCH, match)
            assert raw.run() == (hv.VMX_REASON_EXC_NMI if leaves else hv.VMX_REASON_TRIPLE_FAULT)
            if leaves:
                assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == 0x4000_0000


@promise
def nmis_have_their_window(engine: str) -> None:
    """4.26, 4.20: NMIs are blocked from their delivery to IRET; then the window exits with reason 8."""
    with raw_guest("90 f4") as raw:
        raw.control(hv.VMCS_CTRL_PIN_BASED, hv.HV_VMX_CAP_PINBASED, _NMIS)
        proc(raw, hv.CPU_BASED_VIRTUAL_NMI_WND)
        assert raw.run() == hv.VMX_REASON_VIRTUAL_NMI_WND
        assert raw.reg(hv.HV_X86_RIP) == CODE
        vector(raw, 2, "90 cf")
        raw.write(_INJECT, 0x8000_0202)
        assert raw.run() == hv.VMX_REASON_VIRTUAL_NMI_WND
        assert (raw.reg(hv.HV_X86_RIP), raw.read(hv.VMCS_GUEST_INTERRUPTIBILITY)) == (CODE, 0)
        proc(raw, 0)
        assert raw.run() == hv.VMX_REASON_HLT


@promise
def an_exit_behind_a_rep_has_no_resume_flag(engine: str) -> None:
    """4.26: RF stands between iterations, not in an exit by an instruction. SDM vol. 3, "Saving RIP, RSP, RFLAGS"."""
    with raw_guest("ac b9ffff f3ac f4") as raw:  # lodsb; mov cx, 0xffff; rep lodsb, which ends in a later slice; hlt
        assert raw.run() == hv.VMX_REASON_HLT
        assert (raw.reg(hv.HV_X86_RCX), raw.reg(hv.HV_X86_RFLAGS)) == (0, 2)


@promise
def an_iret_that_faults_has_opened_nmis(engine: str) -> None:
    """4.26: bit 12 of the interruption information, as the client has to block them again."""
    with raw_guest("90 f4") as raw:
        raw.exceptions()
        raw.control(hv.VMCS_CTRL_PIN_BASED, hv.HV_VMX_CAP_PINBASED, _NMIS)
        vector(raw, 2, "bcffff cf")  # mov sp, 0xffff; iret
        raw.write(_INJECT, 0x8000_0202)
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert (raw.read(_INFO), raw.read(hv.VMCS_GUEST_INTERRUPTIBILITY)) == (0x8000_130C, 0)


@promise
@covers(hv_vcpu_run_until="SUCCESS")
def activity_states_wait(engine: str) -> None:
    """4.26: HLT, shutdown and wait-for-SIPI do not run; an NMI wakes the first two, the last takes none."""
    for state in (1, 2, 3):
        with raw_guest("90 f4") as raw:
            vector(raw, 2)
            raw.write(hv.VMCS_GUEST_ACTIVITY_STATE, state)
            hv.hv_vcpu_run_until(raw.vcpu, hv.mach_absolute_time() + 5_000_000)
            assert raw.read(hv.VMCS_RO_EXIT_REASON) == hv.VMX_REASON_VMX_TIMER_EXPIRED
            assert (raw.reg(hv.HV_X86_RIP), raw.read(hv.VMCS_GUEST_ACTIVITY_STATE)) == (CODE, state)
            raw.write(_INJECT, 0x8000_0202)
            assert raw.run() == (FAILED if state == 3 else hv.VMX_REASON_HLT)
            assert raw.read(hv.VMCS_GUEST_ACTIVITY_STATE) == (state if state == 3 else 0)


@promise
def a_pending_debug_exception_is_delivered(engine: str) -> None:
    """4.26, 4.11: BS pending at an entry is #DB before the first instruction, its qualification says why."""
    with raw_guest("90 f4") as raw:
        raw.exceptions()
        raw.write(hv.VMCS_GUEST_DEBUG_EXC, 1 << 14)
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert (raw.read(_INFO), raw.read(hv.VMCS_RO_EXIT_QUALIFIC)) == (0x8000_0301, 1 << 14)
        assert (raw.reg(hv.HV_X86_RIP), raw.read(hv.VMCS_GUEST_DEBUG_EXC)) == (CODE, 0)


@promise
def an_exit_tells_the_step_that_waits(engine: str) -> None:
    """4.26, 4.11: beside TF an exit behind or within a step has BS pending; the next run delivers it, once.

    SDM vol. 3, "Saving Non-Register State".
    """
    with raw_guest("90 90 f4") as raw:
        proc(raw, hv.CPU_BASED_MTF)
        raw.set(hv.HV_X86_RFLAGS, 0x102)
        assert raw.run() == hv.VMX_REASON_MTF
        assert (raw.reg(hv.HV_X86_RIP), raw.read(hv.VMCS_GUEST_DEBUG_EXC)) == (CODE + 1, 1 << 14)
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert (raw.reg(hv.HV_X86_RIP), raw.read(_INFO)) == (CODE + 1, 0x8000_0301)
        assert (raw.read(hv.VMCS_RO_EXIT_QUALIFIC), raw.read(hv.VMCS_GUEST_DEBUG_EXC)) == (1 << 14, 0)
    with raw_guest("8ed0 f4 90") as raw:  # mov ss, ax; hlt; nop: what the load holds back comes behind the next
        raw.set(hv.HV_X86_RFLAGS, 0x102)
        for _ in range(2):  # the second enters with the blocking, and must find BS beside TF
            assert raw.run() == hv.VMX_REASON_HLT
            assert (raw.reg(hv.HV_X86_RIP), raw.read(hv.VMCS_GUEST_INTERRUPTIBILITY)) == (CODE + 2, 2)
            assert raw.read(hv.VMCS_GUEST_DEBUG_EXC) == 1 << 14
        raw.set(hv.HV_X86_RIP, CODE + 3)
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert (raw.reg(hv.HV_X86_RIP), raw.read(_INFO)) == (CODE + 4, 0x8000_0301)
        assert (raw.read(hv.VMCS_GUEST_DEBUG_EXC), raw.read(hv.VMCS_GUEST_INTERRUPTIBILITY)) == (0, 0)


@promise
def a_monitor_trap_can_be_injected(engine: str) -> None:
    """4.26, 4.25: event type 7 exits with reason 37 before any instruction."""
    with raw_guest("90 f4") as raw:
        raw.write(_INJECT, 0x8000_0700)
        assert raw.run() == hv.VMX_REASON_MTF
        assert (raw.reg(hv.HV_X86_RIP), raw.read(_INJECT) >> 31) == (CODE, 0)


@promise
def ept_violations_say_what_and_where(engine: str) -> None:
    """4.22: data and fetch, with the rights that are there, linear and physical address."""
    with raw_guest("f4") as raw:
        long_mode(raw)
        raw.ram[TABLES + 0x2000 : TABLES + 0x2008] = struct.pack("<Q", TABLES + 0x3007)
        for page in range(16):
            entry = HOLE | 7 if page == 5 else page << 12 | 7
            raw.ram[TABLES + 0x3000 + page * 8 : TABLES + 0x3008 + page * 8] = struct.pack("<Q", entry)
        for code, access in (("8a042534500000", 1), ("88042534500000", 2), ("e92f400000", 4)):
            raw.ram[CODE : CODE + 7] = bytes.fromhex(code).ljust(7, b"\x90")
            raw.set(hv.HV_X86_RIP, CODE)
            assert raw.run() == hv.VMX_REASON_EPT_VIOLATION, code
            assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == access | 1 << 7 | 1 << 8, code
            assert raw.read(hv.VMCS_RO_GUEST_LIN_ADDR) == 0x5034
            assert raw.read(hv.VMCS_GUEST_PHYSICAL_ADDRESS) == HOLE + 0x34


@promise
def a_page_walk_makes_an_ept_violation(engine: str) -> None:
    """4.22: tables that are not in memory; the walk's own qualification and address."""
    with raw_guest("8a042500002000") as raw:  # mov al, [0x200000]
        long_mode(raw)
        raw.ram[TABLES + 0x2008 : TABLES + 0x2010] = struct.pack("<Q", HOLE | 7)
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) & 0x187 == 0x81, "the walk itself, a linear address belongs to it"
        assert raw.read(hv.VMCS_GUEST_PHYSICAL_ADDRESS) == HOLE
