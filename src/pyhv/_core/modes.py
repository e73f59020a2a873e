"""Flat modes that a vCPU can be put into without tables in guest memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, SupportsIndex

from ..arch.x86_64.layouts import Cr0, Cr4, Efer
from ..arch.x86_64.registers import Reg
from ..arch.x86_64.vmcs import ENTRY_IA32E, Cap, Vmcs
from ..errors import BadArgument
from .segments import Segment, Table

if TYPE_CHECKING:
    from .vcpu import VCpu

_CODE, _DATA, _TASK = 0x08, 0x10, 0x18
_FLAT: Final = 0xFFFF_FFFF

_CODE32 = Segment(_CODE, 0, _FLAT, 0xC09B)  # 32-bit code, readable, accessed, present, 4 KiB units
_CODE64 = Segment(_CODE, 0, _FLAT, 0xA09B)  # 64-bit code
_DATA32 = Segment(_DATA, 0, _FLAT, 0xC093)  # writable data
_BUSY_TSS = Segment(_TASK, 0, 0xFFFF, 0x8B)
_NO_LDT = Segment(0, 0, 0, 0x10000)

_PROTECTED: Final = Cr0(0).replace(pe=1, et=1, ne=1)
_LONG: Final = _PROTECTED.replace(pg=1)
_LONG_CR4: Final = Cr4(0).replace(pae=1)
_LONG_EFER: Final = Efer(0).replace(lme=1, lma=1)
_CR3_LOW: Final = 0x18  # PWT and PCD


def enter_protected(vcpu: VCpu) -> None:
    """32-bit protected mode, flat, paging off. See `VCpu.enter_protected`."""
    _control(vcpu, _PROTECTED, Cr4(0), Efer(0), None)
    _flat(vcpu, _CODE32)


def enter_long(vcpu: VCpu, cr3: SupportsIndex, gpa_bits: int) -> None:
    """64-bit mode, flat, paging by the tables at `cr3`. See `VCpu.enter_long`."""
    root = int(cr3)
    if not 0 <= root < 1 << gpa_bits or root & 0xFFF & ~_CR3_LOW:
        raise BadArgument(
            f"cr3 {root:#x} is not the address of a page table: a multiple of 4096 below {1 << gpa_bits:#x} would do"
        )
    _control(vcpu, _LONG, _LONG_CR4, _LONG_EFER, root)
    _flat(vcpu, _CODE64)


def _control(vcpu: VCpu, cr0: Cr0, cr4: Cr4, efer: Efer, cr3: int | None) -> None:
    engine = vcpu.engine
    raw = vcpu.rules.raw_exits
    must = engine.capability(Cap.CR4_FIXED0) if raw else 0  # Apple's functions show VMXE in CR4, as processors do
    engine.write_vmcs(Vmcs.GUEST_EFER, efer)  # as the field: WRMSR would not let LMA change
    if cr3 is not None:
        engine.write_register(Reg.CR3, cr3)
    engine.write_register(Reg.CR4, cr4 | must)
    engine.write_register(Reg.CR0, cr0)
    if raw:
        controls = engine.read_vmcs(Vmcs.ENTRY_CONTROLS) & ~ENTRY_IA32E
        engine.write_vmcs(Vmcs.ENTRY_CONTROLS, controls | (ENTRY_IA32E if efer.lma else 0))


def _flat(vcpu: VCpu, code: Segment) -> None:
    segments = vcpu.segments
    segments.cs = code
    for name in ("ss", "ds", "es", "fs", "gs"):
        setattr(segments, name, _DATA32)
    segments.ldtr, segments.tr = _NO_LDT, _BUSY_TSS
    segments.gdtr, segments.idtr = Table(0, 0), Table(0, 0)
    vcpu.engine.write_register(Reg.RFLAGS, 2)
