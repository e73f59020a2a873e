"""Promises of Apple's functions: fixed bits of control registers, and page tables where memory is not plain."""

from __future__ import annotations

import struct
from typing import Final

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, HOLE, RawGuest, raw_guest
from .strict_vmx import TABLES, long_mode, proc2

_PD, _PT = TABLES + 0x2000, 0x6000
_TABLE_WINDOW: Final = 0x20_0000  # linear: the second 2 MiB, mapped by the page table at `_PT`
_GP: Final = 0x8000_0300 | 13


@promise
def fixed_bits_stay_in_the_guest(engine: str) -> None:
    """4.7, 4.10: a MOV that would clear NE or VMXE, or set what FIXED1 has not, is #GP; the registers stay.

    SDM vol. 3C, "Restrictions on VMX Operation".
    """
    for code, value, before in (
        ("0f22c0", 0x10, (0x20, 0x2000)),  # mov cr0, eax without NE
        ("0f22e0", 0x20, (0x20, 0x2000)),  # mov cr4, eax without VMXE
        ("0f22e0", 0x2000 | 1 << 12, (0x20, 0x2000)),  # with LA57
    ):
        with raw_guest(f"{code} f4") as raw:
            raw.exceptions()
            raw.set(hv.HV_X86_RAX, value)
            assert raw.run() == hv.VMX_REASON_EXC_NMI, (code, hex(value))
            assert raw.read(hv.VMCS_RO_VMEXIT_IRQ_INFO) == _GP, (code, hex(value))
            assert (raw.reg(hv.HV_X86_CR0) & ~0x10, raw.reg(hv.HV_X86_CR4)) == before
            assert raw.reg(hv.HV_X86_RIP) == CODE


@promise
def fixed_bits_that_the_host_owns_stay_without_a_fault(engine: str) -> None:
    """4.14: masked and as the shadow says, NE and VMXE may be written as 0: the real registers keep them."""
    with raw_guest("0f22c0 0f22e1 f4") as raw:  # mov cr0, eax; mov cr4, ecx
        for mask, shadow, bit in (
            (hv.VMCS_CTRL_CR0_MASK, hv.VMCS_CTRL_CR0_SHADOW, 0x20),
            (hv.VMCS_CTRL_CR4_MASK, hv.VMCS_CTRL_CR4_SHADOW, 0x2000),
        ):
            raw.write(mask, bit)
            raw.write(shadow, 0)
        raw.set(hv.HV_X86_RAX, 0x14)
        raw.set(hv.HV_X86_RCX, 0x20)
        assert raw.run() == hv.VMX_REASON_HLT
        assert (raw.reg(hv.HV_X86_CR0) & 0x24, raw.reg(hv.HV_X86_CR4)) == (0x24, 0x2020)


def _window(raw: RawGuest) -> None:
    """Map the window's first page to GPA 0x3000, by a page table that lies on the APIC-access page."""
    raw.ram[_PD + 8 : _PD + 16] = struct.pack("<Q", _PT | 7)
    raw.ram[_PT : _PT + 8] = struct.pack("<Q", 0x3007)
    hv.hv_vmx_vcpu_set_apic_address(raw.vcpu, _PT)
    proc2(raw, hv.CPU_BASED2_VIRTUAL_APIC)


@promise
def page_tables_on_the_apic_page_exit(engine: str) -> None:
    """4.33: an entry read there is exit 44 with a guest-physical access type: 15 by an instruction, 10 by an event.

    SDM vol. 3C, "Guest-Physical Accesses That Cause APIC-Access VM Exits".
    """
    with raw_guest("8a042500002000 f4") as raw:  # mov al, [0x200000]
        long_mode(raw)
        _window(raw)
        raw.ram[0x3000] = 0x5A
        assert raw.run() == hv.VMX_REASON_APIC_ACCESS
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) >> 12 == 15
        assert raw.reg(hv.HV_X86_RIP) == CODE
        proc2(raw, 0)
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_RAX) & 0xFF == 0x5A
    with raw_guest("f4") as raw:
        long_mode(raw)
        _window(raw)
        raw.write(hv.VMCS_GUEST_IDTR_BASE, _TABLE_WINDOW)
        raw.write(hv.VMCS_GUEST_IDTR_LIMIT, 0xFFF)
        raw.write(hv.VMCS_CTRL_VMENTRY_IRQ_INFO, 0x8000_0202)
        assert raw.run() == hv.VMX_REASON_APIC_ACCESS
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) >> 12 == 10
        assert raw.read(hv.VMCS_RO_IDT_VECTOR_INFO) == 0x8000_0202


def _pae(raw: RawGuest, table: int) -> None:
    """32-bit code with PAE paging; its first 2 MiB are mapped onto themselves."""
    raw.ram[table : table + 8] = struct.pack("<Q", 0xB001)
    raw.ram[0xB000:0xB008] = struct.pack("<Q", 0x83)
    for field, value in (
        (hv.VMCS_GUEST_CS_AR, 0xC09B),
        (hv.VMCS_GUEST_CR3, table),
        (hv.VMCS_GUEST_CR4, 0x2020),
        (hv.VMCS_GUEST_CR0, 0x8000_0021),
    ):
        raw.write(field, value)


@promise
def pdptes_that_are_not_in_memory_exit(engine: str) -> None:
    """4.22: a load of PDPTEs from where nothing is mapped is an EPT violation of a read, without a linear address."""
    with raw_guest("0f22d8 f4") as raw:  # mov cr3, eax
        _pae(raw, 0xA000)
        raw.set(hv.HV_X86_RAX, HOLE)
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == 1
        assert raw.read(hv.VMCS_GUEST_PHYSICAL_ADDRESS) == HOLE
        assert (raw.reg(hv.HV_X86_RIP), raw.reg(hv.HV_X86_CR3)) == (CODE, 0xA000)
        assert raw.read(hv.VMCS_GUEST_PDPTE0) == 0xB001


@promise
@covers(hv_vmx_vcpu_set_apic_address="SUCCESS")
def pdptes_on_the_apic_page_exit(engine: str) -> None:
    """4.33: as page tables there do."""
    with raw_guest("0f22d8 f4") as raw:
        _pae(raw, 0xA000)
        hv.hv_vmx_vcpu_set_apic_address(raw.vcpu, 0x3000)
        proc2(raw, hv.CPU_BASED2_VIRTUAL_APIC)
        raw.set(hv.HV_X86_RAX, 0x3000)
        assert raw.run() == hv.VMX_REASON_APIC_ACCESS
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) >> 12 == 15
        assert (raw.reg(hv.HV_X86_RIP), raw.reg(hv.HV_X86_CR3)) == (CODE, 0xA000)
        assert raw.read(hv.VMCS_GUEST_PDPTE0) == 0xB001


@promise
def reserved_bits_of_pdptes_are_bad_guest_state(engine: str) -> None:
    """4.20: exit 33 with qualification 2; an entry that is not present may hold anything.

    SDM vol. 3C, "Checks on Guest Page-Directory-Pointer-Table Entries".
    """
    with raw_guest("f4") as raw:
        _pae(raw, 0xA000)
        raw.write(hv.VMCS_GUEST_PDPTE2, 0x81)
        assert raw.run() == 1 << 31 | hv.VMX_REASON_VMENTRY_GUEST
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == 2
        raw.write(hv.VMCS_GUEST_PDPTE2, 0x80)
        assert raw.run() == hv.VMX_REASON_HLT
