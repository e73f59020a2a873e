"""What a KVM does not do although its capabilities have it: small guests that look."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import addressof, c_char
from typing import TYPE_CHECKING, Final

from ...arch.x86_64.registers import Reg
from ...arch.x86_64.vmcs import CpuBased, Vmcs, segment_fields
from ...exits import InterruptWindow

if TYPE_CHECKING:
    from ..base import EngineVcpu
    from .vm import KvmVm

_PAGE: Final = 4096
_BYTES: Final = 4 * _PAGE  # the code, and three tables that map it
_CODE: Final = bytes.fromhex("9090 e680")  # nop; nop; out 0x80, al
_OPENS_AT_3: Final = bytes.fromhex("90 fb 90 90 90 f4")  # nop; sti; nop; nop; nop; hlt
_USER_PAGE: Final = 7  # present, writable, user
_FLAT: Final = 0xFFFF_FFFF
_SELECTORS: Final = {"cs": (0x0B, 0xA0FB), "ss": (0x13, 0xC0F3), "ds": (0x13, 0xC0F3), "es": (0x13, 0xC0F3)}
_CONTROLS: Final = ((Reg.CR3, _PAGE), (Reg.CR4, 1 << 5), (Reg.CR0, 0x8000_0031))  # PAE; PG, NE, ET, PE
_LONG: Final = 0x500  # EFER: LMA, LME
_IOPL_3: Final = 0x3002


def steps_user_code(vm: KvmVm) -> bool:
    """Whether a single step in 64-bit mode at CPL 3 is one: from a NOP to the next. Closes the VM."""
    with _guest(vm, _CODE) as (vcpu, memory):
        for table in (1, 2):
            memory[table * _PAGE : table * _PAGE + 8] = struct.pack("<Q", (table + 1) * _PAGE | _USER_PAGE)
        memory[3 * _PAGE : 3 * _PAGE + 8] = struct.pack("<Q", _USER_PAGE | 1 << 7)  # 2 MiB
        _enter_user(vcpu)
        vcpu.step()
        return vcpu.read_register(Reg.RIP) == 1


def sees_windows(vm: KvmVm) -> bool:
    """Whether the interrupt window is left behind the instruction that follows STI. Closes the VM."""
    with _guest(vm, _OPENS_AT_3) as (vcpu, _):
        vcpu.write_vmcs(Vmcs.CPU_BASED, vcpu.read_vmcs(Vmcs.CPU_BASED) | CpuBased.INTERRUPT_WINDOW)
        return vcpu.run() == InterruptWindow() and vcpu.read_register(Reg.RIP) == 3


@contextmanager
def _guest(vm: KvmVm, code: bytes) -> Iterator[tuple[EngineVcpu, mmap.mmap]]:
    memory = mmap.mmap(-1, _BYTES)
    memory[: len(code)] = code
    vm.map(0, addressof(c_char.from_buffer(memory)), _BYTES, 7)
    vm.is_trusted = True
    vcpu = vm.vcpu(0, False)
    try:
        yield vcpu, memory
    finally:
        vcpu.close("asked")
        vm.close()


def _enter_user(vcpu: EngineVcpu) -> None:
    vcpu.write_vmcs(Vmcs.GUEST_EFER, _LONG)
    for reg, value in _CONTROLS:
        vcpu.write_register(reg, value)
    for name, (selector, rights) in _SELECTORS.items():
        for field, value in zip(segment_fields(name), (selector, 0, _FLAT, rights), strict=True):
            vcpu.write_vmcs(field, value)
    vcpu.write_register(Reg.RFLAGS, _IOPL_3)
