"""One call of each of Apple's functions with arguments that are in order, to see who may make it and when.

A table has the arguments by name: behind the vCPU for those of a vCPU.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import Any, Final

from ..framework import intel as hv

PAGE: Final = 4096
_MEMORY: Final = mmap.mmap(-1, PAGE)


def _state(version: int, size: int) -> bytearray:
    """A struct to be filled, of this version."""
    return bytearray(struct.pack("<I", version).ljust(size, b"\0"))


OWNER: Final[dict[str, tuple[Any, ...]]] = {
    "hv_vcpu_destroy": (),
    "hv_vcpu_run": (),
    "hv_vcpu_run_until": (0,),
    "hv_vcpu_flush": (),
    "hv_vcpu_invalidate_tlb": (),
    "hv_vcpu_get_exec_time": (),
    "hv_vcpu_get_idle_time": (),
    "hv_vcpu_vmx_status": (),
    "hv_vcpu_set_space": (0,),
    "hv_vcpu_set_tsc_relative": (0,),
    "hv_vcpu_read_register": (hv.HV_X86_RIP,),
    "hv_vcpu_write_register": (hv.HV_X86_RIP, 0),
    "hv_vcpu_read_fpstate": (512,),
    "hv_vcpu_write_fpstate": (bytes(512), 512),
    "hv_vcpu_enable_native_msr": (hv.HV_MSR_IA32_LSTAR, True),
    "hv_vcpu_enable_managed_msr": (hv.HV_MSR_IA32_LSTAR, True),
    "hv_vcpu_set_msr_access": (hv.HV_MSR_IA32_LSTAR, hv.HV_MSR_READ),
    "hv_vcpu_read_msr": (hv.HV_MSR_IA32_LSTAR,),
    "hv_vcpu_write_msr": (hv.HV_MSR_IA32_LSTAR, 0),
    "hv_vmx_vcpu_read_vmcs": (hv.VMCS_GUEST_RIP,),
    "hv_vmx_vcpu_write_vmcs": (hv.VMCS_GUEST_RIP, 0),
    "hv_vmx_vcpu_get_cap_write_vmcs": (hv.VMCS_CTRL_PIN_BASED,),
    "hv_vmx_vcpu_read_shadow_vmcs": (hv.VMCS_GUEST_RIP,),
    "hv_vmx_vcpu_write_shadow_vmcs": (hv.VMCS_GUEST_RIP, 0),
    "hv_vmx_vcpu_set_shadow_access": (hv.VMCS_GUEST_RIP, hv.HV_SHADOW_VMCS_READ),
    "hv_vmx_vcpu_set_apic_address": (0,),
    "hv_vmx_vcpu_set_apic_address_space": (0, 0),
}
"""Functions that only the vCPU's thread may call, in any VM."""

APIC_OWNER: Final[dict[str, tuple[Any, ...]]] = {
    "hv_vcpu_exit_info": (),
    "hv_vcpu_exit_init_ap": (1,),
    "hv_vcpu_exit_startup_ap": (1,),
    "hv_vcpu_exit_ioapic_eoi": (),
    "hv_vcpu_exit_apic_access_read": (),
    "hv_vcpu_exit_inject_excp": (),
    "hv_vcpu_inject_extint": (),
    "hv_vcpu_apic_read": (0x20,),
    "hv_vcpu_apic_write": (0x80, 0),
    "hv_vcpu_apic_get_state": (_state(hv.HV_APIC_STATE_EXT_VER, 248),),
    "hv_vcpu_apic_put_state": (_state(hv.HV_APIC_STATE_EXT_VER, 248),),
    "hv_vcpu_apic_lsc_enter_r32": (True, 0, 3, 0, hv.HV_X86_RAX, [0], 1),
    "hv_vcpu_apic_lsc_enter_imm32": (0, 3, 0, 0, [0], 1),
    "hv_vcpu_apic_lsc_invalidate": (),
    "hv_vcpu_apic_ctrl": (0,),
    "hv_vcpu_apic_trigger_lvt": (hv.HV_APIC_LVT_FLAVOR_TIMER,),
}
"""As `OWNER`, in a VM with HV_VM_ACCEL_APIC."""

LIFE: Final[dict[str, tuple[Any, ...]]] = {
    "hv_vm_destroy": (),
    "hv_vcpu_create": (0,),
    "hv_vm_sync_tsc": (0,),
    "hv_vm_space_create": (),
    "hv_vm_space_destroy": (1,),
}
"""Functions that need a VM, for which it matters when, where or on which engine they are called."""

ANY: Final[dict[str, tuple[Any, ...]]] = {
    "hv_vm_map": (_MEMORY, 0, PAGE, 7),
    "hv_vm_protect": (0, PAGE, 1),
    "hv_vm_unmap": (0, PAGE),
    "hv_vm_map_space": (0, _MEMORY, 0, PAGE, 7),
    "hv_vm_protect_space": (0, 0, PAGE, 1),
    "hv_vm_unmap_space": (0, 0, PAGE),
    "hv_vm_add_pio_notifier": (0x60, 1, 0, 1, 0),
    "hv_vm_remove_pio_notifier": (0x60, 1, 0, 1, 0),
    "hv_vcpu_interrupt": ([0], 1),
}
"""Functions that any thread may call, in this order, in a VM with a vCPU."""

APIC_LIFE: Final[dict[str, tuple[Any, ...]]] = {
    "hv_vm_set_apic_bus_freq": (16_000_000,),
}
"""As `LIFE`, in a VM with HV_VM_ACCEL_APIC."""

APIC_ANY: Final[dict[str, tuple[Any, ...]]] = {
    "hv_vm_lapic_set_intr": (0, 0x41, 0),
    "hv_vm_lapic_msi": (0xFEE0_0000, 0x41),
    "hv_vm_send_ioapic_intr": (0x41,),
    "hv_vm_ioapic_assert_irq": (1,),
    "hv_vm_ioapic_deassert_irq": (1,),
    "hv_vm_ioapic_pulse_irq": (1,),
    "hv_vm_ioapic_read": (0xFEC0_0000,),
    "hv_vm_ioapic_write": (0xFEC0_0000, 0),
    "hv_vm_ioapic_get_state": (_state(hv.HV_IOAPIC_STATE_EXT_VER, 280),),
    "hv_vm_ioapic_put_state": (_state(hv.HV_IOAPIC_STATE_EXT_VER, 280),),
    "hv_vm_atpic_assert_irq": (1,),
    "hv_vm_atpic_deassert_irq": (1,),
    "hv_vm_atpic_port_read": (0x20,),
    "hv_vm_atpic_port_write": (0x20, 0),
    "hv_vm_atpic_get_state": (_state(hv.HV_ATPIC_STATE_EXT_VER, 20), True),
    "hv_vm_atpic_put_state": (_state(hv.HV_ATPIC_STATE_EXT_VER, 20), True),
}
"""As `ANY`, in a VM with HV_VM_ACCEL_APIC."""

APIC_WRONG: Final[dict[str, tuple[Any, ...]]] = {
    "hv_vcpu_exit_init_ap": (1 << 20,),
    "hv_vcpu_exit_startup_ap": (1 << 20,),
    "hv_vcpu_apic_read": (0x21,),
    "hv_vcpu_apic_write": (0x1000, 0),
    "hv_vcpu_apic_get_state": (_state(99, 248),),
    "hv_vcpu_apic_put_state": (_state(99, 248),),
    "hv_vcpu_apic_lsc_enter_r32": (True, 0, 16, 0, hv.HV_X86_RAX, [0], 1),
    "hv_vcpu_apic_lsc_enter_imm32": (0, 3, 0, 0, [1], 1),
    "hv_vcpu_apic_ctrl": (1 << 10,),
    "hv_vm_set_apic_bus_freq": (1,),
    "hv_vm_lapic_set_intr": (0, 15, 0),
    "hv_vm_lapic_msi": (0x1000, 0x41),
    "hv_vm_ioapic_assert_irq": (24,),
    "hv_vm_ioapic_deassert_irq": (24,),
    "hv_vm_ioapic_pulse_irq": (24,),
    "hv_vm_ioapic_read": (0xFEE0_0000,),
    "hv_vm_ioapic_write": (0xFEC0_1000, 0),
    "hv_vm_ioapic_get_state": (_state(99, 280),),
    "hv_vm_ioapic_put_state": (_state(99, 280),),
    "hv_vm_atpic_assert_irq": (2,),
    "hv_vm_atpic_deassert_irq": (16,),
    "hv_vm_atpic_port_read": (0x22,),
    "hv_vm_atpic_port_write": (0x22, 0),
    "hv_vm_atpic_get_state": (_state(99, 20), True),
    "hv_vm_atpic_put_state": (_state(99, 20), True),
}
"""Arguments that the functions of `APIC_OWNER` and `APIC_ANY` refuse."""


def call(name: str, arguments: tuple[Any, ...]) -> Callable[[], object]:
    """The call to be made, of whatever stands under that name then."""
    return lambda: getattr(hv, name)(*arguments)
