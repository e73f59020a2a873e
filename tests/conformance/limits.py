"""What an engine cannot do, promise by promise, and why: each either says so with Unsupported, or differs as told."""

from __future__ import annotations

from typing import Final

UNSUPPORTED: Final = {
    ("kvm", "answers.an_msr_nobody_has_can_be_asked_for"): "KVM has no exception bitmap (the promise looks at the #GP)",
    ("kvm", "answers.cpuid_can_be_made_to_exit"): "KVM answers CPUID itself",
    ("kvm", "running.a_budget_is_exact"): "KVM does not count instructions (`cpu.instructions`)",
    ("kvm", "running.counted_time_repeats_exactly"): "KVM does not count instructions",
    ("kvm", "events.the_bitmap_makes_exceptions_exits"): "KVM has no exception bitmap",
    ("kvm", "events.control_registers_have_a_mask_and_a_shadow"): "KVM has no masks for CR0 and CR4",
}
"""(engine, promise) → why. The promise must end with Unsupported."""

DIFFERENT: Final = {
    (
        "kvm",
        "answers.vmcall_is_a_hypercall",
    ): "KVM answers VMCALL itself, or gives the guest #UD; no capability says so",
    (
        "kvm",
        "events.the_window_says_when",
    ): "a KVM that emulates kernel code looks for the window only at its next exit",
    (
        "kvm",
        "state.a_state_within_an_instruction_keeps_its_answers",
    ): "KVM keeps the pieces to itself: all are asked again",
    (
        "kvm",
        "memory.unmap_reaches_a_running_vcpu",
    ): "an INC that unmap meets between its load and its store leaves with the store alone: KVM has loaded already",
}
"""(engine, promise) → what is otherwise. Not run."""

NO_RAW_FACE: Final = {"kvm": "the engine makes no raw vCPUs: `hv_vcpu_create` is HV_UNSUPPORTED"}
"""Engines without Apple's functions: the promises of the modules strict_… are not theirs."""
