"""What an engine cannot do, promise by promise, and why: each either says so with Unsupported, or differs as told."""

from __future__ import annotations

from typing import Final

_BITMAP: Final = "KVM has no exception bitmap: it must be 0"
_CONTROL: Final = "its control must be 0: KVM has no such exit"
_APIC: Final = "no vCPU of Apple's functions runs on KVM in a VM with interrupt controllers"
_SPACE: Final = "a VM of KVM has one address space (HV_CAP_ADDRSPACEMAX)"
_RAW: Final = {
    _BITMAP: (
        "strict_vmcs.guest_fields_read_back",
        "strict_vmcs.exceptions_exit_by_the_bitmap",
        "strict_state.native_msrs_keep_their_value",
        "strict_vmcs.a_software_interrupt_through_a_small_idt",
        "strict_vmcs.a_page_fault_gives_its_address",
        "strict_vmx.rdtscp_needs_its_control",
        "strict_vmx.the_instructions_of_vmx_always_exit",
        "strict_vmx.invpcid_needs_its_control",
        "strict_vmx_entry.page_faults_exit_by_mask_and_match",
        "strict_vmx_entry.the_event_under_delivery_is_told",
        "strict_vmx_entry.an_iret_that_faults_has_opened_nmis",
        "strict_vmx_entry.a_pending_debug_exception_is_delivered",
        "strict_vmx_paging.fixed_bits_stay_in_the_guest",
    ),
    _CONTROL: (
        "strict_vmx.instructions_exit_by_their_control",
        "strict_vmx.performance_counters_exit_or_are_not_there",
        "strict_vmx.wbinvd_exits_by_its_control",
        "strict_vmx.descriptor_tables_exit_by_their_control",
        "strict_vmx.cr3_targets_do_not_exit",
        "strict_vmx.masked_bits_of_cr0_belong_to_the_host",
        "strict_vmx.masked_bits_of_cr4_belong_to_the_host",
        "strict_vmx.cr8_exits_by_its_controls",
        "strict_vmx.the_task_priority_has_a_threshold",
        "strict_vmx.io_bitmaps_choose_the_ports",
        "strict_vmx.the_monitor_trap_stops_between_iterations",
        "strict_vmx.the_preemption_timer_ends_a_run",
        "strict_vmx.the_apic_page_exits",
        "strict_vmx_entry.an_exit_tells_the_step_that_waits",
        "strict_vmx_entry.controls_that_contradict_are_an_error",
        "strict_vmx_entry.nmis_have_their_window",
        "strict_vmx_paging.fixed_bits_that_the_host_owns_stay_without_a_fault",
        "strict_vmx_paging.page_tables_on_the_apic_page_exit",
        "strict_vmx_paging.pdptes_on_the_apic_page_exit",
        "strict_shadow.vmread_is_served_from_the_shadow",
        "strict_shadow.vmwrite_goes_into_the_shadow",
        "strict_shadow.the_shadow_reaches_memory_and_faults",
    ),
    _APIC: (
        "strict_refusals.its_interrupt_controller_belongs_to_its_thread",
        "strict_refusals.no_vcpu_has_no_interrupt_controller",
        "strict_refusals.what_the_exit_does_not_have_is_an_error",
        "strict_refusals.arguments_of_the_interrupt_controllers_are_checked",
        "strict_lifecycle.interrupts_come_from_any_thread",
        "strict_apic.only_run_until_runs_it",
        "strict_apic.halt_waits_inside",
        "strict_apic.init_and_start_up_are_the_clients",
        "strict_apic.an_smi_is_the_clients",
        "strict_apic.a_write_from_outside_tells_too",
        "strict_apic.an_illegal_access_is_an_exception_to_inject",
        "strict_apic.an_end_of_interrupt_can_be_told",
        "strict_apic.an_interrupt_that_ends_itself",
        "strict_apic.the_timer_can_be_the_clients",
        "strict_apic.msrs_that_the_controls_turn_on",
        "strict_apic.the_io_apic_by_its_addresses",
        "strict_apic.the_8259_pair_by_its_ports",
        "strict_apic.states_are_versioned",
        "strict_apic.the_bus_frequency_comes_first",
        "strict_apic.the_load_store_cache_is_checked_only",
    ),
    _SPACE: (
        "strict_refusals.a_space_refuses_what_the_first_refuses",
        "strict_spaces.spaces_are_counted_from_1",
        "strict_spaces.each_space_has_its_own_memory",
        "strict_spaces.what_only_one_space_maps_is_a_violation_in_the_other",
        "strict_spaces.one_memory_may_be_in_several_spaces",
        "strict_spaces.changes_reach_a_running_vcpu_of_the_space_only",
        "strict_spaces.a_space_in_use_cannot_be_destroyed",
        "strict_spaces.a_space_is_checked_like_the_first",
        "strict_spaces.the_apic_page_belongs_to_a_space",
    ),
}
"""Promises of Apple's functions by what they want of KVM and it has not."""

UNSUPPORTED: Final = {
    ("kvm", "answers.an_msr_nobody_has_can_be_asked_for"): "KVM has no exception bitmap (the promise looks at the #GP)",
    ("kvm", "answers.cpuid_can_be_made_to_exit"): "KVM answers CPUID itself",
    ("kvm", "running.a_budget_is_exact"): "KVM does not count instructions (`cpu.instructions`)",
    ("kvm", "running.counted_time_repeats_exactly"): "KVM does not count instructions",
    ("kvm", "events.the_bitmap_makes_exceptions_exits"): "KVM has no exception bitmap",
    ("kvm", "events.control_registers_have_a_mask_and_a_shadow"): "KVM has no masks for CR0 and CR4",
    **{("kvm", promise): why for why, promises in _RAW.items() for promise in promises},
}
"""(engine, promise) → why. The promise must end with Unsupported."""

DIFFERENT: Final = {
    (
        "kvm",
        "answers.vmcall_is_a_hypercall",
    ): "KVM answers VMCALL itself, or gives the guest #UD; no capability says so",
    (
        "kvm",
        "state.a_state_within_an_instruction_keeps_its_answers",
    ): "KVM keeps the pieces to itself: all are asked again",
    (
        "kvm",
        "memory.unmap_reaches_a_running_vcpu",
    ): "an INC that unmap meets between its load and its store leaves with the store alone: KVM has loaded already",
    (
        "kvm",
        "strict_running.exits_leave_rip_on_the_instruction",
    ): "KVM answers CPUID and VMCALL itself; HLT, RDMSR and WRMSR are in tests/kvm",
    ("kvm", "strict_running.xsetbv_always_exits"): "KVM executes XSETBV",
    (
        "kvm",
        "strict_running.what_the_guest_causes_is_an_exit",
    ): "a KVM that emulates real mode does not look at the IDT's limit; tests/kvm has a triple fault",
    (
        "kvm",
        "strict_running.the_guests_tsc_is_the_clock_plus_an_offset",
    ): "a KVM that is emulated gives its guests the host's TSC, and then it is HV_UNSUPPORTED",
    (
        "kvm",
        "strict_vmcs.the_controls_that_clients_need_are_there",
    ): "KVM has no exit for MONITOR, MWAIT, CR8 and the NMI window",
    ("kvm", "strict_vmx.invd_always_exits"): "KVM executes INVD",
    ("kvm", "strict_vmx_entry.pdptes_follow_cr3"): "a KVM that is emulated has no PAE paging",
    (
        "kvm",
        "strict_vmx_entry.a_page_walk_makes_an_ept_violation",
    ): "KVM gives the guest a #PF where its page tables are not in memory",
    ("kvm", "strict_vmx_paging.pdptes_that_are_not_in_memory_exit"): "a KVM that is emulated has no PAE paging",
    (
        "kvm",
        "strict_vmx_paging.reserved_bits_of_pdptes_are_bad_guest_state",
    ): "a KVM that is emulated has no PAE paging",
    ("kvm", "strict_shadow.shadowing_is_offered_and_optional"): "the control of VMREAD and VMWRITE must be 0",
    ("kvm", "strict_refusals.a_running_vcpu_keeps_its_tsc"): "a KVM that is emulated gives its guests the host's TSC",
    (
        "kvm",
        "strict_vmcs.every_field_takes_what_it_says",
    ): "fields without a capability word, as the exception bitmap, must be 0; the TSC offset as above",
    ("kvm", "strict_running.one_tsc_is_set_for_all"): "a KVM that is emulated gives its guests the host's TSC",
}
"""(engine, promise) → what is otherwise. Not run."""
