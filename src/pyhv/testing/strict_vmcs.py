"""Promises of Apple's functions: capabilities, controls, events."""

from __future__ import annotations

import struct
from functools import partial
from typing import Final

from ..errors import BadArgument
from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, RawGuest, fails, raw_guest, strict_vm

_HOST: Final = 3  # bits 11:10 of an encoding. SDM vol. 3, "Encodings of VMCS Fields"
# What a widely used monitor needs to start: bits that can be 1, and bits that can be 0.
CAN_BE_ONE = {
    hv.HV_VMX_CAP_PINBASED: hv.PIN_BASED_INTR | hv.PIN_BASED_NMI | hv.PIN_BASED_VIRTUAL_NMI,
    hv.HV_VMX_CAP_PROCBASED: hv.CPU_BASED_SECONDARY_CTLS
    | hv.CPU_BASED_MWAIT
    | hv.CPU_BASED_MONITOR
    | hv.CPU_BASED_UNCOND_IO
    | hv.CPU_BASED_MSR_BITMAPS
    | hv.CPU_BASED_IRQ_WND
    | hv.CPU_BASED_VIRTUAL_NMI_WND
    | hv.CPU_BASED_CR8_LOAD
    | hv.CPU_BASED_CR8_STORE
    | hv.CPU_BASED_HLT
    | hv.CPU_BASED_TSC_OFFSET,
    hv.HV_VMX_CAP_PROCBASED2: hv.CPU_BASED2_EPT
    | hv.CPU_BASED2_UNRESTRICTED
    | hv.CPU_BASED2_VPID
    | hv.CPU_BASED2_RDTSCP,
    hv.HV_VMX_CAP_ENTRY: hv.VMENTRY_LOAD_EFER,
    hv.HV_VMX_CAP_EXIT: hv.VMEXIT_HOST_IA32E | hv.VMEXIT_LOAD_EFER,
}
CAN_BE_ZERO = {
    hv.HV_VMX_CAP_PINBASED: hv.PIN_BASED_PREEMPTION_TIMER,
    hv.HV_VMX_CAP_PROCBASED: hv.CPU_BASED_CR3_LOAD
    | hv.CPU_BASED_CR3_STORE
    | hv.CPU_BASED_IO_BITMAPS
    | hv.CPU_BASED_RDTSC
    | hv.CPU_BASED_TPR_SHADOW
    | hv.CPU_BASED_MOV_DR
    | hv.CPU_BASED_MTF
    | hv.CPU_BASED_INVLPG
    | hv.CPU_BASED_PAUSE,
    hv.HV_VMX_CAP_PROCBASED2: hv.CPU_BASED2_VIRTUAL_APIC
    | hv.CPU_BASED2_DESC_TABLE
    | hv.CPU_BASED2_WBINVD
    | hv.CPU_BASED2_PAUSE_LOOP
    | hv.CPU_BASED2_RDRAND
    | hv.CPU_BASED2_INVPCID
    | hv.CPU_BASED2_RDSEED
    | hv.CPU_BASED2_XSAVES_XRSTORS
    | hv.CPU_BASED2_VMCS_SHADOW,
    hv.HV_VMX_CAP_ENTRY: hv.VMENTRY_SMM | hv.VMENTRY_DEACTIVATE_DUAL_MONITOR | hv.VMENTRY_GUEST_IA32E,
    hv.HV_VMX_CAP_EXIT: hv.VMEXIT_SAVE_VMX_TIMER | hv.VMEXIT_SAVE_EFER | hv.VMEXIT_LOAD_IA32_PERF_GLOBAL_CTRL,
}
# Optional beyond that: what every processor with VMX has, and clients turn on. Further bits have stopped old clients.
ALSO_OPTIONAL = {
    hv.HV_VMX_CAP_PROCBASED: hv.CPU_BASED_RDPMC,
    hv.HV_VMX_CAP_ENTRY: hv.VMENTRY_LOAD_DBG_CONTROLS | hv.VMENTRY_LOAD_IA32_PAT,
    hv.HV_VMX_CAP_EXIT: hv.VMEXIT_SAVE_DBG_CONTROLS
    | hv.VMEXIT_ACK_INTR
    | hv.VMEXIT_SAVE_IA32_PAT
    | hv.VMEXIT_LOAD_IA32_PAT,
}
CONTROLS = {
    hv.HV_VMX_CAP_PINBASED: hv.VMCS_CTRL_PIN_BASED,
    hv.HV_VMX_CAP_PROCBASED: hv.VMCS_CTRL_CPU_BASED,
    hv.HV_VMX_CAP_PROCBASED2: hv.VMCS_CTRL_CPU_BASED2,
    hv.HV_VMX_CAP_ENTRY: hv.VMCS_CTRL_VMENTRY_CONTROLS,
    hv.HV_VMX_CAP_EXIT: hv.VMCS_CTRL_VMEXIT_CONTROLS,
}


def _enter_long_mode(raw: RawGuest) -> None:
    """64-bit code at `CODE`, with the smallest tables that do."""
    raw.ram[0x9000:0x9008] = struct.pack("<Q", 0xA007)
    raw.ram[0xA000:0xA008] = struct.pack("<Q", 0xB007)
    raw.ram[0xB000:0xB008] = struct.pack("<Q", 0x87)
    raw.control(hv.VMCS_CTRL_VMENTRY_CONTROLS, hv.HV_VMX_CAP_ENTRY, hv.VMENTRY_GUEST_IA32E | hv.VMENTRY_LOAD_EFER)
    for field, value in (
        (hv.VMCS_GUEST_IA32_EFER, 0x500),
        (hv.VMCS_GUEST_CR3, 0x9000),
        (hv.VMCS_GUEST_CR4, 0x2020),
        (hv.VMCS_GUEST_CR0, 0x8000_0021),
        (hv.VMCS_GUEST_CS_AR, 0xA09B),
        (hv.VMCS_GUEST_TR_AR, 0x8B),
        (hv.VMCS_GUEST_GDTR_LIMIT, 0),
        (hv.VMCS_GUEST_IDTR_LIMIT, 0),
    ):
        raw.write(field, value)


@promise
@covers(hv_vmx_read_capability="SUCCESS BAD_ARGUMENT")
def capability_words_make_sense(engine: str) -> None:
    """4.1: every known word can be read without a VM; what must be 1 may be 1; unknown words are HV_BAD_ARGUMENT."""
    for word in [*range(17), hv.HV_VMX_CAP_PREEMPTION_TIMER]:
        hv.hv_vmx_read_capability(word)
    for word in CONTROLS:
        value = hv.hv_vmx_read_capability(word)
        assert (value & 0xFFFF_FFFF) & ~(value >> 32) == 0, hv.hv_vmx_capability_t(word).name
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vmx_read_capability(17))
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vmx_read_capability(33))


@promise
@covers(hv_vmx_read_capability="SUCCESS")
def the_controls_that_clients_need_are_there(engine: str) -> None:
    """4.2, 4.3: the bits that can be 1, and those that can be 0."""
    missing = {word: int(bits) & ~(hv.hv_vmx_read_capability(word) >> 32) for word, bits in CAN_BE_ONE.items()}
    stuck = {word: int(bits) & hv.hv_vmx_read_capability(word) & 0xFFFF_FFFF for word, bits in CAN_BE_ZERO.items()}
    wrong = [f"{hv.hv_vmx_capability_t(word).name}: {bits:#x} cannot be 1" for word, bits in missing.items() if bits]
    wrong += [f"{hv.hv_vmx_capability_t(word).name}: {bits:#x} cannot be 0" for word, bits in stuck.items() if bits]
    assert wrong == []


@promise
@covers(hv_vmx_read_capability="SUCCESS")
def no_bit_is_optional_without_need(engine: str) -> None:
    """4.4: what is neither needed, nor left out, nor told here cannot be chosen."""
    for word in CONTROLS:
        value = hv.hv_vmx_read_capability(word)
        known = int(CAN_BE_ONE.get(word, 0)) | int(CAN_BE_ZERO.get(word, 0)) | int(ALSO_OPTIONAL.get(word, 0))
        assert (value >> 32) & ~value & 0xFFFF_FFFF & ~known == 0, hv.hv_vmx_capability_t(word).name


@promise
@covers(hv_vmx_read_capability="SUCCESS", hv_vmx_vcpu_read_vmcs="SUCCESS")
def controls_begin_as_their_words_allow(engine: str) -> None:
    """4.4: what a client keeps of a control field that it has not written is a value that an entry takes."""
    with strict_vm():
        vcpu = hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT)
        for word, field in CONTROLS.items():
            low, high = (value := hv.hv_vmx_read_capability(word)) & 0xFFFF_FFFF, value >> 32
            begins = hv.hv_vmx_vcpu_read_vmcs(vcpu, field)
            assert begins & low == low and not begins & ~high, f"{field.name}: {begins:#x}, of {low:#x} to {high:#x}"
        hv.hv_vcpu_destroy(vcpu)


@promise
@covers(hv_vmx_read_capability="SUCCESS")
def ept_and_unrestricted_guest_are_always_on(engine: str) -> None:
    """4.5: a client that asks for nothing in the secondary controls can enter real mode."""
    needed = hv.CPU_BASED2_EPT | hv.CPU_BASED2_UNRESTRICTED
    assert hv.hv_vmx_read_capability(hv.HV_VMX_CAP_PROCBASED2) & needed == needed
    assert not hv.hv_vmx_read_capability(hv.HV_VMX_CAP_PROCBASED) & int(hv.CPU_BASED_MOV_DR)


@promise
@covers(
    hv_vmx_read_capability="SUCCESS",
    hv_vmx_vcpu_get_cap_write_vmcs="SUCCESS BAD_ARGUMENT",
    hv_vmx_vcpu_read_vmcs="SUCCESS",
    hv_vmx_vcpu_write_vmcs="SUCCESS",
)
def control_fields_read_back(engine: str) -> None:
    """4.4, 4.6: readable before the first write, with values that the words allow; writes read back exactly."""
    with raw_guest("f4") as raw:
        for word, field in CONTROLS.items():
            value = hv.hv_vmx_read_capability(word)
            must, may = value & 0xFFFF_FFFF, value >> 32
            assert must & ~raw.read(field) == 0
            assert raw.read(field) & ~may == 0
            raw.write(field, must)
            assert raw.read(field) == must
            ranges = hv.hv_vmx_vcpu_get_cap_write_vmcs(raw.vcpu, field)
            assert ranges == (must, may)
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vmx_vcpu_get_cap_write_vmcs(raw.vcpu, hv.VMCS_RO_EXIT_REASON))


@promise
@covers(hv_vmx_vcpu_get_cap_write_vmcs="SUCCESS")
def what_may_be_written_is_told_bit_by_bit(engine: str) -> None:
    """4.6: of CR0 and CR4 the fixed bits, but PE and PG, which the guest may choose; of plain fields the width."""
    read = hv.hv_vmx_read_capability
    with raw_guest("f4") as raw:
        fixed = {
            hv.VMCS_GUEST_CR0: (read(hv.HV_VMX_CAP_CR0_FIXED0) & ~0x8000_0001, read(hv.HV_VMX_CAP_CR0_FIXED1)),
            hv.VMCS_GUEST_CR4: (read(hv.HV_VMX_CAP_CR4_FIXED0), read(hv.HV_VMX_CAP_CR4_FIXED1)),
            hv.VMCS_GUEST_CS: (0, 0xFFFF),
            hv.VMCS_GUEST_CS_LIMIT: (0, 0xFFFF_FFFF),
            hv.VMCS_GUEST_RIP: (0, (1 << 64) - 1),
        }
        for field, bits in fixed.items():
            assert hv.hv_vmx_vcpu_get_cap_write_vmcs(raw.vcpu, field) == bits, hv.vmcs_field(field).name
        assert fixed[hv.VMCS_GUEST_CR4][0] & 0x2000


@promise
@covers(hv_vmx_vcpu_read_vmcs="SUCCESS", hv_vmx_vcpu_write_vmcs="SUCCESS")
def guest_fields_read_back(engine: str) -> None:
    """4.7: plain guest-state fields give back exactly what was written."""
    values = {
        hv.VMCS_GUEST_RIP: 0x1234,
        hv.VMCS_GUEST_RSP: 0x5678,
        hv.VMCS_GUEST_RFLAGS: 0x246,
        hv.VMCS_GUEST_CR3: 0x7000,
        hv.VMCS_GUEST_CS: 0x1B,
        hv.VMCS_GUEST_CS_BASE: 0x1_0000,
        hv.VMCS_GUEST_CS_LIMIT: 0xF_FFFF,
        hv.VMCS_GUEST_CS_AR: 0xC0FB,
        hv.VMCS_GUEST_LDTR_AR: 0x1_0000,
        hv.VMCS_GUEST_TR_AR: 0x8B,
        hv.VMCS_GUEST_GDTR_BASE: 0x9000,
        hv.VMCS_GUEST_IDTR_LIMIT: 0xFFF,
        hv.VMCS_GUEST_DR7: 0x400,
        hv.VMCS_GUEST_IA32_EFER: 0x500,
        hv.VMCS_GUEST_IA32_PAT: 0x0606_0606_0606_0606,
        hv.VMCS_GUEST_IA32_DEBUGCTL: 2,
        hv.VMCS_CTRL_TSC_OFFSET: 0x1234_5678_9ABC_DEF0,
        hv.VMCS_GUEST_IA32_SYSENTER_CS: 0x10,
        hv.VMCS_GUEST_SYSENTER_ESP: 0xAAAA,
        hv.VMCS_GUEST_SYSENTER_EIP: 0xBBBB,
        hv.VMCS_GUEST_INTERRUPTIBILITY: 1,
        hv.VMCS_GUEST_ACTIVITY_STATE: 1,
        hv.VMCS_GUEST_DEBUG_EXC: 0x4000,
        hv.VMCS_CTRL_EXC_BITMAP: 0x4_0000,
        hv.VMCS_CTRL_CR0_MASK: 0x6000_0000,
        hv.VMCS_CTRL_CR4_SHADOW: 0x2000,
    }
    with raw_guest("f4") as raw:
        for field, value in values.items():
            raw.write(field, value)
        wrong = {
            hv.vmcs_field(field).name: raw.read(field) for field, value in values.items() if raw.read(field) != value
        }
        assert wrong == {}


@promise
@covers(
    hv_vmx_vcpu_get_cap_write_vmcs="SUCCESS BAD_ARGUMENT",
    hv_vmx_vcpu_read_vmcs="SUCCESS",
    hv_vmx_vcpu_write_vmcs="SUCCESS",
)
def every_field_takes_what_it_says(engine: str) -> None:
    """4.6, 4.7: of each field that can be written, what must be set, what may be, and a pattern between read back."""
    writable = 0
    with raw_guest("f4") as raw:
        for field in hv.vmcs_field:
            try:
                must, may = hv.hv_vmx_vcpu_get_cap_write_vmcs(raw.vcpu, field)
            except BadArgument:
                fails(hv.HV_BAD_ARGUMENT, partial(raw.write, field, 0))
                continue
            writable += 1
            good = raw.read(field)
            for value in (may, must, 0xA5A5_A5A5_A5A5_A5A5 & may | must, good):
                raw.write(field, value)
                assert raw.read(field) == value, f"{field.name} = {value:#x}"
        assert raw.run() == hv.VMX_REASON_HLT
    assert writable > 80


@promise
@covers(hv_vmx_vcpu_read_vmcs="BAD_ARGUMENT", hv_vmx_vcpu_write_vmcs="BAD_ARGUMENT")
def fields_that_are_none_are_refused(engine: str) -> None:
    """4.8: unknown fields are HV_BAD_ARGUMENT; so are the host's, as the EPT pointer, and read-only ones on write."""
    with raw_guest("f4") as raw:
        fails(hv.HV_BAD_ARGUMENT, lambda: raw.read(0x6FFE), "0x6ffe")
        fails(hv.HV_BAD_ARGUMENT, lambda: raw.write(0x6FFE, 0), "0x6ffe")
        for field in [hv.VMCS_CTRL_EPTP, *(one for one in hv.vmcs_field if one >> 10 & 3 == _HOST)]:
            fails(hv.HV_BAD_ARGUMENT, partial(raw.read, field))
            fails(hv.HV_BAD_ARGUMENT, partial(raw.write, field, 0))
        fails(hv.HV_BAD_ARGUMENT, lambda: raw.write(hv.VMCS_RO_EXIT_REASON, 0))
        fails(hv.HV_BAD_ARGUMENT, lambda: raw.read(hv.VMCS_MAX))


@promise
def exceptions_exit_by_the_bitmap(engine: str) -> None:
    """4.19: reason 0 with valid, type and vector; RIP on the instruction, nothing pushed; #UD has a length."""
    for code in ("0f0b", "0f05"):  # ud2; syscall, which is none while EFER.SCE is 0: a client may do it and go on
        with raw_guest(code) as raw:
            raw.exceptions()
            _enter_long_mode(raw)
            assert raw.run() == hv.VMX_REASON_EXC_NMI
            assert raw.read(hv.VMCS_RO_VMEXIT_IRQ_INFO) == 0x8000_0306
            assert raw.read(hv.VMCS_RO_VMEXIT_INSTR_LEN) == 2
            assert (raw.reg(hv.HV_X86_RIP), raw.reg(hv.HV_X86_RSP)) == (CODE, 0x8000)


@promise
def a_software_interrupt_through_a_small_idt(engine: str) -> None:
    """4.23: IDT limit 0 makes INT n a #GP exit whose vectoring info holds n with the software type; RIP at the INT."""
    with raw_guest("b409 cd21") as raw:
        raw.exceptions()
        raw.write(hv.VMCS_GUEST_IDTR_LIMIT, 0)
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert raw.read(hv.VMCS_RO_VMEXIT_IRQ_INFO) & 0x8000_07FF == 0x8000_030D
        assert raw.read(hv.VMCS_RO_IDT_VECTOR_INFO) & 0x8000_07FF == 0x8000_0421
        assert raw.reg(hv.HV_X86_RIP) == CODE + 2
        assert raw.reg(hv.HV_X86_RSP) == 0x8000


@promise
def injection_is_taken_once(engine: str) -> None:
    """4.25: the event is delivered first, and the valid bit of the field reads 0 after the entry."""
    with raw_guest("90 f4") as raw:
        raw.ram[0x21 * 4 : 0x21 * 4 + 4] = struct.pack("<HH", 0x2000, 0)
        raw.ram[0x2000] = 0xF4
        raw.set(hv.HV_X86_RFLAGS, 0x202)
        raw.write(hv.VMCS_CTRL_VMENTRY_IRQ_INFO, 0x8000_0021)
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_RIP) == 0x2000
        assert raw.read(hv.VMCS_CTRL_VMENTRY_IRQ_INFO) >> 31 == 0
        assert bytes(raw.ram[0x7FFA:0x7FFC]) == struct.pack("<H", CODE)


@promise
def an_interrupt_window_is_reason_7(engine: str) -> None:
    """4.25: the window exit fires at the first interruptible boundary."""
    with raw_guest("fb 90 90 f4") as raw:
        raw.control(
            hv.VMCS_CTRL_CPU_BASED,
            hv.HV_VMX_CAP_PROCBASED,
            hv.CPU_BASED_HLT | hv.CPU_BASED_SECONDARY_CTLS | hv.CPU_BASED_IRQ_WND,
        )
        assert raw.run() == hv.VMX_REASON_IRQ_WND
        assert raw.reg(hv.HV_X86_RIP) == CODE + 2


@promise
@covers(hv_vmx_read_capability="SUCCESS")
def the_monitor_trap_follows_one_instruction(engine: str) -> None:
    """4.26: with the flag, each run is one instruction and exits with reason 37, RIP past it."""
    with raw_guest("40 40 f4") as raw:
        if not hv.hv_vmx_read_capability(hv.HV_VMX_CAP_PROCBASED) >> 32 & hv.CPU_BASED_MTF:
            return
        raw.control(
            hv.VMCS_CTRL_CPU_BASED,
            hv.HV_VMX_CAP_PROCBASED,
            hv.CPU_BASED_HLT | hv.CPU_BASED_SECONDARY_CTLS | hv.CPU_BASED_MTF,
        )
        assert raw.run() == hv.VMX_REASON_MTF
        assert raw.reg(hv.HV_X86_RIP) == CODE + 1
        assert raw.run() == hv.VMX_REASON_MTF
        assert raw.reg(hv.HV_X86_RAX) == 2


@promise
def long_mode_can_be_entered(engine: str) -> None:
    """4.12: CR0 0x80000021, CR4 0x2020, EFER 0x500 with entry IA-32e, TR 0x8B, LDTR 0x10000, IDT and GDT limit 0."""
    with raw_guest("48b8efcdab8967452301 f4") as raw:  # mov rax, imm64; hlt
        _enter_long_mode(raw)
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_RAX) == 0x0123_4567_89AB_CDEF
        assert (raw.reg(hv.HV_X86_CR0), raw.reg(hv.HV_X86_CR4)) == (0x8000_0021, 0x2020)
        assert raw.read(hv.VMCS_CTRL_VMENTRY_CONTROLS) & hv.VMENTRY_GUEST_IA32E


@promise
def a_page_fault_gives_its_address(engine: str) -> None:
    """4.19: a #PF exit has the address in the qualification and leaves CR2 alone; the error code is there."""
    with raw_guest("a000000080 f4") as raw:  # mov al, [0x80000000]
        raw.exceptions()
        raw.ram[0x9000:0x9004] = struct.pack("<I", 0x87)  # one 4 MiB page onto itself
        raw.write(hv.VMCS_GUEST_CS_AR, 0xC09B)
        raw.write(hv.VMCS_GUEST_DS_AR, 0xC093)
        raw.write(hv.VMCS_GUEST_DS_LIMIT, 0xFFFF_FFFF)
        raw.write(hv.VMCS_GUEST_CR3, 0x9000)
        raw.write(hv.VMCS_GUEST_CR4, 0x2010)
        raw.write(hv.VMCS_GUEST_CR0, 0x8000_0021)
        raw.set(hv.HV_X86_CR2, 0x1234)
        assert raw.run() == hv.VMX_REASON_EXC_NMI
        assert raw.read(hv.VMCS_RO_VMEXIT_IRQ_INFO) == 0x8000_0B0E
        assert raw.read(hv.VMCS_RO_VMEXIT_IRQ_ERROR) == 0
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == 0x8000_0000
        assert raw.reg(hv.HV_X86_CR2) == 0x1234
