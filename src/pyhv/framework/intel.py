"""Apple's Hypervisor framework for Intel: 81 functions and their constants, by Apple's names.

Same order of arguments as in C. Out-parameters become the result (several: a NamedTuple); anything but HV_SUCCESS
raises the HvError of that code. The strict rules hold: one VM a process, a vCPU only on the thread that made it.
Exits are raw: RIP on the instruction, the reason and its details in the VMCS. What the engine does not have, an
option or an MSR, raises HvError of HV_UNSUPPORTED. `IMPLEMENTED` has the names of the functions; none is in `LATER`.
"""

from .._core.clock import mach_absolute_time as mach_absolute_time
from ..errors import HvError as HvError
from ._intel_apic import hv_vcpu_apic_ctrl as hv_vcpu_apic_ctrl
from ._intel_apic import hv_vcpu_apic_get_state as hv_vcpu_apic_get_state
from ._intel_apic import hv_vcpu_apic_lsc_enter_imm32 as hv_vcpu_apic_lsc_enter_imm32
from ._intel_apic import hv_vcpu_apic_lsc_enter_r32 as hv_vcpu_apic_lsc_enter_r32
from ._intel_apic import hv_vcpu_apic_lsc_invalidate as hv_vcpu_apic_lsc_invalidate
from ._intel_apic import hv_vcpu_apic_put_state as hv_vcpu_apic_put_state
from ._intel_apic import hv_vcpu_apic_read as hv_vcpu_apic_read
from ._intel_apic import hv_vcpu_apic_trigger_lvt as hv_vcpu_apic_trigger_lvt
from ._intel_apic import hv_vcpu_apic_write as hv_vcpu_apic_write
from ._intel_apic import hv_vcpu_inject_extint as hv_vcpu_inject_extint
from ._intel_apic import hv_vm_atpic_assert_irq as hv_vm_atpic_assert_irq
from ._intel_apic import hv_vm_atpic_deassert_irq as hv_vm_atpic_deassert_irq
from ._intel_apic import hv_vm_atpic_get_state as hv_vm_atpic_get_state
from ._intel_apic import hv_vm_atpic_port_read as hv_vm_atpic_port_read
from ._intel_apic import hv_vm_atpic_port_write as hv_vm_atpic_port_write
from ._intel_apic import hv_vm_atpic_put_state as hv_vm_atpic_put_state
from ._intel_apic import hv_vm_ioapic_assert_irq as hv_vm_ioapic_assert_irq
from ._intel_apic import hv_vm_ioapic_deassert_irq as hv_vm_ioapic_deassert_irq
from ._intel_apic import hv_vm_ioapic_get_state as hv_vm_ioapic_get_state
from ._intel_apic import hv_vm_ioapic_pulse_irq as hv_vm_ioapic_pulse_irq
from ._intel_apic import hv_vm_ioapic_put_state as hv_vm_ioapic_put_state
from ._intel_apic import hv_vm_ioapic_read as hv_vm_ioapic_read
from ._intel_apic import hv_vm_ioapic_write as hv_vm_ioapic_write
from ._intel_apic import hv_vm_lapic_msi as hv_vm_lapic_msi
from ._intel_apic import hv_vm_lapic_set_intr as hv_vm_lapic_set_intr
from ._intel_apic import hv_vm_send_ioapic_intr as hv_vm_send_ioapic_intr
from ._intel_apic import hv_vm_set_apic_bus_freq as hv_vm_set_apic_bus_freq
from ._intel_constants import *  # noqa: F403 - Apple's names, all of them
from ._intel_exit_info import InjectException as InjectException
from ._intel_exit_info import StartupAp as StartupAp
from ._intel_exit_info import hv_vcpu_exit_apic_access_read as hv_vcpu_exit_apic_access_read
from ._intel_exit_info import hv_vcpu_exit_info as hv_vcpu_exit_info
from ._intel_exit_info import hv_vcpu_exit_init_ap as hv_vcpu_exit_init_ap
from ._intel_exit_info import hv_vcpu_exit_inject_excp as hv_vcpu_exit_inject_excp
from ._intel_exit_info import hv_vcpu_exit_ioapic_eoi as hv_vcpu_exit_ioapic_eoi
from ._intel_exit_info import hv_vcpu_exit_startup_ap as hv_vcpu_exit_startup_ap
from ._intel_msr import hv_vcpu_enable_managed_msr as hv_vcpu_enable_managed_msr
from ._intel_msr import hv_vcpu_enable_native_msr as hv_vcpu_enable_native_msr
from ._intel_msr import hv_vcpu_read_msr as hv_vcpu_read_msr
from ._intel_msr import hv_vcpu_set_msr_access as hv_vcpu_set_msr_access
from ._intel_msr import hv_vcpu_write_msr as hv_vcpu_write_msr
from ._intel_msr import hv_vmx_get_msr_info as hv_vmx_get_msr_info
from ._intel_notifiers import hv_vm_add_pio_notifier as hv_vm_add_pio_notifier
from ._intel_notifiers import hv_vm_remove_pio_notifier as hv_vm_remove_pio_notifier
from ._intel_shadow import hv_vmx_vcpu_read_shadow_vmcs as hv_vmx_vcpu_read_shadow_vmcs
from ._intel_shadow import hv_vmx_vcpu_set_shadow_access as hv_vmx_vcpu_set_shadow_access
from ._intel_shadow import hv_vmx_vcpu_write_shadow_vmcs as hv_vmx_vcpu_write_shadow_vmcs
from ._intel_space import hv_vcpu_set_space as hv_vcpu_set_space
from ._intel_space import hv_vm_map_space as hv_vm_map_space
from ._intel_space import hv_vm_protect_space as hv_vm_protect_space
from ._intel_space import hv_vm_space_create as hv_vm_space_create
from ._intel_space import hv_vm_space_destroy as hv_vm_space_destroy
from ._intel_space import hv_vm_unmap_space as hv_vm_unmap_space
from ._intel_timer import hv_tsc_clock as hv_tsc_clock
from ._intel_timer import hv_vcpu_set_tsc_relative as hv_vcpu_set_tsc_relative
from ._intel_timer import hv_vm_sync_tsc as hv_vm_sync_tsc
from ._intel_vcpu import hv_vcpu_create as hv_vcpu_create
from ._intel_vcpu import hv_vcpu_destroy as hv_vcpu_destroy
from ._intel_vcpu import hv_vcpu_flush as hv_vcpu_flush
from ._intel_vcpu import hv_vcpu_get_exec_time as hv_vcpu_get_exec_time
from ._intel_vcpu import hv_vcpu_get_idle_time as hv_vcpu_get_idle_time
from ._intel_vcpu import hv_vcpu_interrupt as hv_vcpu_interrupt
from ._intel_vcpu import hv_vcpu_invalidate_tlb as hv_vcpu_invalidate_tlb
from ._intel_vcpu import hv_vcpu_read_fpstate as hv_vcpu_read_fpstate
from ._intel_vcpu import hv_vcpu_read_register as hv_vcpu_read_register
from ._intel_vcpu import hv_vcpu_run as hv_vcpu_run
from ._intel_vcpu import hv_vcpu_run_until as hv_vcpu_run_until
from ._intel_vcpu import hv_vcpu_vmx_status as hv_vcpu_vmx_status
from ._intel_vcpu import hv_vcpu_write_fpstate as hv_vcpu_write_fpstate
from ._intel_vcpu import hv_vcpu_write_register as hv_vcpu_write_register
from ._intel_vm import hv_capability as hv_capability
from ._intel_vm import hv_vm_allocate as hv_vm_allocate
from ._intel_vm import hv_vm_create as hv_vm_create
from ._intel_vm import hv_vm_deallocate as hv_vm_deallocate
from ._intel_vm import hv_vm_destroy as hv_vm_destroy
from ._intel_vm import hv_vm_map as hv_vm_map
from ._intel_vm import hv_vm_protect as hv_vm_protect
from ._intel_vm import hv_vm_unmap as hv_vm_unmap
from ._intel_vmcs import CapWriteVmcs as CapWriteVmcs
from ._intel_vmcs import hv_vmx_read_capability as hv_vmx_read_capability
from ._intel_vmcs import hv_vmx_vcpu_get_cap_write_vmcs as hv_vmx_vcpu_get_cap_write_vmcs
from ._intel_vmcs import hv_vmx_vcpu_read_vmcs as hv_vmx_vcpu_read_vmcs
from ._intel_vmcs import hv_vmx_vcpu_set_apic_address as hv_vmx_vcpu_set_apic_address
from ._intel_vmcs import hv_vmx_vcpu_set_apic_address_space as hv_vmx_vcpu_set_apic_address_space
from ._intel_vmcs import hv_vmx_vcpu_write_vmcs as hv_vmx_vcpu_write_vmcs
from ._status import IMPLEMENTED as IMPLEMENTED
from ._status import LATER as LATER
