"""Promises of Apple's functions: running, kicks, deadlines, exits."""

from __future__ import annotations

import signal
import struct
import threading
import time
from typing import Final

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, fails, in_thread, raw_guest, thread

_KICKS: Final = 40


@promise
@covers(hv_vcpu_run="SUCCESS")
def exits_leave_rip_on_the_instruction(engine: str) -> None:
    """4.18, 4.20: HLT, CPUID, VMCALL, RDMSR and WRMSR exit with their reasons and lengths; RIP never moves."""
    cases = (
        ("f4", hv.VMX_REASON_HLT, 1),
        ("0fa2", hv.VMX_REASON_CPUID, 2),
        ("0f01c1", hv.VMX_REASON_VMCALL, 3),
        ("0f32", hv.VMX_REASON_RDMSR, 2),
        ("0f30", hv.VMX_REASON_WRMSR, 2),
    )
    for code, reason, length in cases:
        with raw_guest(code) as raw:
            raw.set(hv.HV_X86_RCX, hv.HV_MSR_IA32_LSTAR)
            assert raw.run() == reason, code
            assert raw.read(hv.VMCS_RO_VMEXIT_INSTR_LEN) == length, code
            assert raw.reg(hv.HV_X86_RIP) == raw.read(hv.VMCS_GUEST_RIP) == CODE, code
            assert raw.run() == reason, "the instruction has not happened, so it exits again"


@promise
def xsetbv_always_exits(engine: str) -> None:
    """4.20: XSETBV is exit 55 where CR4.OSXSAVE lets the guest use it."""
    with raw_guest("0f01d1") as raw:
        raw.write(hv.VMCS_GUEST_CR4, 0x4_2000)
        assert raw.run() == hv.VMX_REASON_XSETBV
        assert (raw.read(hv.VMCS_RO_VMEXIT_INSTR_LEN), raw.reg(hv.HV_X86_RIP)) == (3, CODE)


@promise
def port_exits_say_what(engine: str) -> None:
    """4.21: size, direction, string, REP, immediate and port in the qualification; RAX is untouched."""
    cases = (
        ("e661", 0x0061_0040, 2),  # out 0x61, al
        ("ef", 0x03F8_0001, 1),  # out dx, ax
        ("66ed", 0x03F8_000B, 2),  # in eax, dx
        ("f36e", 0x03F8_0030, 2),  # rep outsb
        ("6c", 0x03F8_0018, 1),  # insb
    )
    for code, qualification, length in cases:
        with raw_guest(code) as raw:
            raw.set(hv.HV_X86_RDX, 0x3F8)
            raw.set(hv.HV_X86_RAX, 0x1122_3344_5566_7788)
            raw.set(hv.HV_X86_RCX, 3)
            assert raw.run() == hv.VMX_REASON_IO, code
            assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) == qualification, code
            assert raw.read(hv.VMCS_RO_VMEXIT_INSTR_LEN) == length, code
            assert (raw.reg(hv.HV_X86_RAX), raw.reg(hv.HV_X86_RCX)) == (0x1122_3344_5566_7788, 3)
            assert raw.reg(hv.HV_X86_RIP) == CODE


@promise
def the_client_moves_rip(engine: str) -> None:
    """3.9, 4.18: what the client writes between two runs is what the next one starts from."""
    with raw_guest("e661 40 f4") as raw:
        assert raw.run() == hv.VMX_REASON_IO
        raw.set(hv.HV_X86_RAX, 0x10)
        raw.write(hv.VMCS_GUEST_RIP, raw.reg(hv.HV_X86_RIP) + raw.read(hv.VMCS_RO_VMEXIT_INSTR_LEN))
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_RAX) == 0x11


@promise
@covers(hv_vcpu_run_until="SUCCESS")
def a_deadline_reads_as_reason_52(engine: str) -> None:
    """3.2: expiry is exit reason 52; a passed deadline returns promptly; HV_DEADLINE_FOREVER never comes."""
    with raw_guest("ebfe") as raw:
        assert abs(hv.mach_absolute_time() - time.monotonic_ns()) < 1_000_000_000
        moment = hv.mach_absolute_time() + 20_000_000
        hv.hv_vcpu_run_until(raw.vcpu, moment)
        assert raw.read(hv.VMCS_RO_EXIT_REASON) == hv.VMX_REASON_VMX_TIMER_EXPIRED
        assert hv.mach_absolute_time() >= moment
        start = time.monotonic()
        hv.hv_vcpu_run_until(raw.vcpu, 1)
        assert raw.read(hv.VMCS_RO_EXIT_REASON) == hv.VMX_REASON_VMX_TIMER_EXPIRED
        assert time.monotonic() - start < 1
    with raw_guest("f4") as raw:
        hv.hv_vcpu_run_until(raw.vcpu, hv.HV_DEADLINE_FOREVER)
        assert raw.read(hv.VMCS_RO_EXIT_REASON) == hv.VMX_REASON_HLT


@promise
@covers(hv_vcpu_interrupt="SUCCESS", hv_vcpu_run="SUCCESS")
def a_kick_is_reason_1(engine: str) -> None:
    """3.3: an interrupted vCPU exits with reason 1; kicks merge; one before the run makes it return at once."""
    with raw_guest("90 f4") as raw:
        hv.hv_vcpu_interrupt([raw.vcpu], 1)
        hv.hv_vcpu_interrupt([raw.vcpu, raw.vcpu], 2)
        assert raw.run() == hv.VMX_REASON_IRQ
        assert raw.reg(hv.HV_X86_RIP) == CODE
        assert raw.run() == hv.VMX_REASON_HLT
        hv.hv_vcpu_interrupt([raw.vcpu], 1)
        assert raw.run() == hv.VMX_REASON_IRQ


@promise
@covers(hv_vcpu_interrupt="SUCCESS")
def one_call_kicks_all_that_it_names(engine: str) -> None:
    """3.3: each vCPU of the list leaves its next run at once, with reason 1; one beyond the count does not."""
    with raw_guest("f4") as raw:

        def second() -> list[int]:
            vcpu = hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT)
            reasons = []
            for ids, count in (([raw.vcpu, vcpu], 2), ([raw.vcpu, vcpu], 1)):
                hv.hv_vcpu_interrupt(ids, count)
                hv.hv_vcpu_run_until(vcpu, 0)
                reasons.append(hv.hv_vmx_vcpu_read_vmcs(vcpu, hv.VMCS_RO_EXIT_REASON))
            hv.hv_vcpu_destroy(vcpu)
            return reasons

        assert in_thread(second) == [hv.VMX_REASON_IRQ, hv.VMX_REASON_VMX_TIMER_EXPIRED]
        assert raw.run() == hv.VMX_REASON_IRQ
        assert raw.run() == hv.VMX_REASON_HLT, "two kicks are one"


@promise
@covers(hv_vcpu_interrupt="SUCCESS")
def a_kick_stops_a_running_guest(engine: str) -> None:
    """3.3, 1.6: from another thread, while it runs."""
    with raw_guest("ebfe") as raw:

        def kick() -> None:
            time.sleep(0.02)
            hv.hv_vcpu_interrupt([raw.vcpu], 1)

        with thread(kick):
            assert raw.run() == hv.VMX_REASON_IRQ


@promise
@covers(hv_vcpu_interrupt="SUCCESS")
def a_kick_may_land_anywhere(engine: str) -> None:
    """3.5, 3.3: registers and memory are exact between any two instructions, and nothing is done twice or left out."""
    with raw_guest("6640 66ff060030 ebf7") as raw:  # again: inc eax; inc dword [0x3000]; jmp again
        stopped = threading.Event()

        def kick() -> None:
            while not stopped.wait(0.0002):
                hv.hv_vcpu_interrupt([raw.vcpu], 1)

        with thread(kick):
            try:
                for _ in range(_KICKS):
                    assert raw.run() == hv.VMX_REASON_IRQ
                    (stored,) = struct.unpack_from("<I", raw.ram, 0x3000)
                    at = raw.reg(hv.HV_X86_RIP) - CODE
                    assert at in {0, 2, 7}
                    assert raw.reg(hv.HV_X86_RAX) == (stored + (at == 2)) & 0xFFFF_FFFF, at
            finally:
                stopped.set()
        assert stored > 0


@promise
def a_signal_is_no_exit(engine: str) -> None:
    """3.6: POSIX signals handled on the vCPU's thread leave the guest running; only the deadline ends the run."""
    with raw_guest("40 ebfd") as raw:  # again: inc ax; jmp again
        seen: list[int] = []
        before = signal.signal(signal.SIGALRM, lambda number, _: seen.append(number))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
            hv.hv_vcpu_run_until(raw.vcpu, hv.mach_absolute_time() + 100_000_000)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert raw.read(hv.VMCS_RO_EXIT_REASON) == hv.VMX_REASON_VMX_TIMER_EXPIRED
        assert len(seen) >= 2


@promise
@covers(hv_vcpu_interrupt="SUCCESS", hv_vcpu_run_until="SUCCESS")
def hlt_can_wait_inside(engine: str) -> None:
    """4.20, 3.2, 3.3: without HLT exiting the run waits in HLT, at no cost, until a deadline or a kick."""
    with raw_guest("f4") as raw:
        raw.control(hv.VMCS_CTRL_CPU_BASED, hv.HV_VMX_CAP_PROCBASED, hv.CPU_BASED_SECONDARY_CTLS)
        began = time.process_time()
        hv.hv_vcpu_run_until(raw.vcpu, hv.mach_absolute_time() + 100_000_000)
        assert time.process_time() - began < 0.09
        assert raw.read(hv.VMCS_RO_EXIT_REASON) == hv.VMX_REASON_VMX_TIMER_EXPIRED
        assert raw.read(hv.VMCS_GUEST_ACTIVITY_STATE) == 1

        def kick() -> None:
            time.sleep(0.02)
            hv.hv_vcpu_interrupt([raw.vcpu], 1)

        with thread(kick):
            assert raw.run() == hv.VMX_REASON_IRQ
        assert raw.reg(hv.HV_X86_RIP) == CODE + 1


@promise
@covers(hv_vcpu_interrupt="SUCCESS BAD_ARGUMENT")
def interrupt_takes_all_or_nothing(engine: str) -> None:
    """1.9: an id that is none makes the whole call HV_BAD_ARGUMENT, and nobody is interrupted."""
    with raw_guest("f4") as raw:
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_interrupt([raw.vcpu, 9], 2), "9")
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_interrupt([raw.vcpu], 2))
        hv.hv_vcpu_interrupt([raw.vcpu], 0)
        assert raw.run() == hv.VMX_REASON_HLT


@promise
@covers(hv_vcpu_run="SUCCESS")
def what_the_guest_causes_is_an_exit(engine: str) -> None:
    """3.8: hv_vcpu_run succeeds for a triple fault; only bad controls are an error."""
    with raw_guest("0f0b") as raw:
        raw.write(hv.VMCS_CTRL_EXC_BITMAP, 0)
        raw.write(hv.VMCS_GUEST_IDTR_LIMIT, 0)
        assert raw.run() == hv.VMX_REASON_TRIPLE_FAULT


@promise
@covers(hv_vcpu_run="ERROR", hv_vcpu_vmx_status="SUCCESS ERROR")
def bad_controls_are_an_error(engine: str) -> None:
    """3.8: an entry with controls outside the capability words is HV_ERROR; hv_vcpu_vmx_status says how it failed."""
    with raw_guest("f4") as raw:
        fails(hv.HV_ERROR, lambda: hv.hv_vcpu_vmx_status(raw.vcpu))
        raw.write(hv.VMCS_CTRL_PIN_BASED, 0)
        fails(hv.HV_ERROR, raw.run, "PIN_BASED")
        assert hv.hv_vcpu_vmx_status(raw.vcpu) == 1 << 6
        assert raw.reg(hv.HV_X86_RIP) == CODE
        raw.control(hv.VMCS_CTRL_PIN_BASED, hv.HV_VMX_CAP_PINBASED, 0)
        assert raw.run() == hv.VMX_REASON_HLT


@promise
@covers(hv_vcpu_flush="UNSUPPORTED", hv_vcpu_invalidate_tlb="SUCCESS")
def flush_is_unsupported_and_invalidate_works(engine: str) -> None:
    """3.9: hv_vcpu_flush is HV_UNSUPPORTED, hv_vcpu_invalidate_tlb succeeds."""
    with raw_guest("f4") as raw:
        fails(hv.HV_UNSUPPORTED, lambda: hv.hv_vcpu_flush(raw.vcpu))
        hv.hv_vcpu_invalidate_tlb(raw.vcpu)


@promise
@covers(hv_vcpu_get_exec_time="SUCCESS", hv_vcpu_get_idle_time="SUCCESS", hv_vcpu_run_until="SUCCESS")
def execution_time_grows(engine: str) -> None:
    """3.10: nanoseconds that grow with each run; nothing is idle, and time stands still outside."""
    with raw_guest("ebfe") as raw:
        before = hv.hv_vcpu_get_exec_time(raw.vcpu)
        hv.hv_vcpu_run_until(raw.vcpu, hv.mach_absolute_time() + 5_000_000)
        after = hv.hv_vcpu_get_exec_time(raw.vcpu)
        assert 1_000_000 < after - before < 5_000_000_000
        assert hv.hv_vcpu_get_exec_time(raw.vcpu) == after
        assert hv.hv_vcpu_get_idle_time(raw.vcpu) == 0


@promise
@covers(hv_tsc_clock="SUCCESS")
def the_tsc_clock_runs(engine: str) -> None:
    """4.30: hv_tsc_clock rises while a VM exists."""
    with raw_guest("f4"):
        first = hv.hv_tsc_clock()
        time.sleep(0.001)
        assert hv.hv_tsc_clock() > first > 0


@promise
@covers(hv_tsc_clock="SUCCESS", hv_vcpu_set_tsc_relative="SUCCESS BAD_ARGUMENT", hv_vm_sync_tsc="SUCCESS")
def the_guests_tsc_is_the_clock_plus_an_offset(engine: str) -> None:
    """4.30: hv_vcpu_set_tsc_relative and hv_vm_sync_tsc set what RDTSC reads."""
    with raw_guest("0f31 f4") as raw:
        hv.hv_vcpu_set_tsc_relative(raw.vcpu, 1 << 50)
        assert raw.run() == hv.VMX_REASON_HLT
        now = hv.hv_tsc_clock()
        read = raw.reg(hv.HV_X86_RDX) << 32 | raw.reg(hv.HV_X86_RAX)
        assert 0 <= now - (read - (1 << 50)) < 10 * 10**9
        hv.hv_vm_sync_tsc(0)
        raw.set(hv.HV_X86_RIP, CODE)
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_RDX) << 32 | raw.reg(hv.HV_X86_RAX) < 10 * 10**9
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_set_tsc_relative(raw.vcpu, 1 << 63))


@promise
@covers(hv_vm_sync_tsc="SUCCESS")
def one_tsc_is_set_for_all(engine: str) -> None:
    """4.30: hv_vm_sync_tsc gives every vCPU the same value, whatever each had before."""
    with raw_guest("f4") as raw:
        done, set_all = threading.Event(), threading.Event()

        def second() -> list[int]:
            vcpu = hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT)
            hv.hv_vcpu_set_tsc_relative(vcpu, 1 << 40)
            offsets = [hv.hv_vmx_vcpu_read_vmcs(vcpu, hv.VMCS_CTRL_TSC_OFFSET)]
            done.set()
            set_all.wait(10)
            offsets.append(hv.hv_vmx_vcpu_read_vmcs(vcpu, hv.VMCS_CTRL_TSC_OFFSET))
            hv.hv_vcpu_destroy(vcpu)
            return offsets

        with thread(second) as results:
            done.wait(10)
            in_thread(lambda: hv.hv_vm_sync_tsc(1 << 30))
            set_all.set()
        before, after = results[0]
        assert (before, after) == (1 << 40, raw.read(hv.VMCS_CTRL_TSC_OFFSET))
        assert before != after
