"""Promises of Apple's functions: the interrupt controllers of HV_VM_ACCEL_APIC, and what they leave to the client."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, RAM_BYTES, RawGuest, fails, raw_guest, strict_vm, waiting

BASE, EOI, ICR, SVR, TPR = 0x1B, 0x80B, 0x830, 0x80F, 0x808
X2APIC: Final = 0xFEE0_0C00
VECTOR: Final = 0x41
HANDLER: Final = 0x3000
_OUT: Final = "e680"  # out 0x80, al: an exit that shows where the guest is
_STI, _HLT = "fb", "f4"
_IO_REASON, _APIC_WRITE = 30, 56
_TPR_OFFSET, _SVR_OFFSET, _TIMER_OFFSET, _IRR_2 = 0x80, 0xF0, 0x320, 0x220


def wrmsr(msr: int, low: int, high: int = 0) -> str:
    """16-bit code that writes an MSR."""
    return (
        struct.pack("<HI", 0xB966, msr) + struct.pack("<HI", 0xB866, low) + struct.pack("<HI", 0xBA66, high)
    ).hex() + "0f30"


_WRMSR_AT: Final = 18  # in the code of wrmsr()


@contextmanager
def apic_guest(code: str, handler: str = _OUT) -> Iterator[RawGuest]:
    """A real-mode guest with its APIC in x2APIC mode, enabled, and a handler for `VECTOR`."""
    with raw_guest(code, options=hv.HV_VM_ACCEL_APIC) as raw:
        for vector in (VECTOR, 0x23):
            raw.ram[4 * vector : 4 * vector + 4] = struct.pack("<HH", HANDLER, 0)
        program = bytes.fromhex(handler)
        raw.ram[HANDLER : HANDLER + len(program)] = program
        hv.hv_vcpu_write_msr(raw.vcpu, BASE, X2APIC | 1 << 8)
        hv.hv_vcpu_apic_write(raw.vcpu, _SVR_OFFSET, 0x1FF)
        yield raw


def run(raw: RawGuest) -> int:
    """hv_vcpu_run_until, then the exit reason."""
    hv.hv_vcpu_run_until(raw.vcpu, hv.HV_DEADLINE_FOREVER)
    return raw.read(hv.VMCS_RO_EXIT_REASON)


def info(raw: RawGuest) -> int:
    """Which further information the exit has."""
    return hv.hv_vcpu_exit_info(raw.vcpu)


def where(raw: RawGuest) -> int:
    """How far RIP is from the start of the code."""
    return raw.reg(hv.HV_X86_RIP) - CODE


def in_handler(raw: RawGuest) -> bool:
    """Whether the handler of `VECTOR` has begun."""
    return raw.reg(hv.HV_X86_RIP) == HANDLER


@contextmanager
def second_vcpu() -> Iterator[int]:
    """Another vCPU, on a thread of its own that does not run it."""
    made, over = threading.Event(), threading.Event()
    ids: list[int] = []

    def own() -> None:
        ids.append(hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT))
        made.set()
        over.wait()
        hv.hv_vcpu_destroy(ids[0])

    owner = threading.Thread(target=own)
    owner.start()
    made.wait()
    try:
        yield ids[0]
    finally:
        over.set()
        owner.join()


@promise
@covers(hv_vcpu_get_idle_time="SUCCESS", hv_vcpu_run="UNSUPPORTED", hv_vcpu_run_until="SUCCESS")
def only_run_until_runs_it(engine: str) -> None:
    """4.32: hv_vcpu_run is HV_UNSUPPORTED; a deadline ends HLT with reason 52, and waiting is idle time."""
    with apic_guest(_STI + _HLT + _OUT) as raw:
        fails(hv.HV_UNSUPPORTED, lambda: hv.hv_vcpu_run(raw.vcpu), "hv_vcpu_run_until")
        hv.hv_vcpu_run_until(raw.vcpu, hv.mach_absolute_time() + 20_000_000)
        assert (raw.read(hv.VMCS_RO_EXIT_REASON), info(raw)) == (52, hv.HV_VM_EXITINFO_VMX)
        assert hv.hv_vcpu_get_idle_time(raw.vcpu) > 10_000_000


@promise
@covers(hv_vm_lapic_set_intr="SUCCESS")
def halt_waits_inside(engine: str) -> None:
    """4.32: HLT waits in hv_vcpu_run_until until an interrupt comes, from any thread."""
    with apic_guest(_STI + _HLT) as raw:
        sender = threading.Timer(0.02, lambda: hv.hv_vm_lapic_set_intr(raw.vcpu, VECTOR, hv.HV_APIC_EDGE_TRIGGER))
        sender.start()
        assert run(raw) == _IO_REASON
        assert in_handler(raw)
        sender.join()


@promise
@covers(hv_vcpu_exit_init_ap="SUCCESS", hv_vcpu_exit_startup_ap="SUCCESS ERROR")
def init_and_start_up_are_the_clients(engine: str) -> None:
    """4.32: INIT and start-up messages leave behind the write; the getters say for whom, and where they start."""
    init, start = wrmsr(ICR, 0x4500, 1), wrmsr(ICR, 0x4609, 1)
    with apic_guest(init + start + wrmsr(ICR, 0xC4500) + _OUT) as raw, second_vcpu() as second:
        assert second == 1
        assert run(raw) == _APIC_WRITE
        assert (info(raw), where(raw)) == (hv.HV_VM_EXITINFO_INIT_AP, len(init) // 2)
        assert hv.hv_vcpu_exit_init_ap(raw.vcpu, 3) == [False, True, False]
        fails(hv.HV_ERROR, lambda: hv.hv_vcpu_exit_startup_ap(raw.vcpu, 2), "INIT_AP")
        run(raw)
        assert info(raw) == hv.HV_VM_EXITINFO_STARTUP_AP
        assert hv.hv_vcpu_exit_startup_ap(raw.vcpu, 2) == ([False, True], 0x9000)
        run(raw)
        assert hv.hv_vcpu_exit_init_ap(raw.vcpu, 2) == [False, True], "all but itself"
        assert (run(raw), info(raw)) == (_IO_REASON, hv.HV_VM_EXITINFO_VMX)


@promise
def an_smi_is_the_clients(engine: str) -> None:
    """4.32: an SMI message leaves with HV_VM_EXITINFO_SMI."""
    with apic_guest(wrmsr(ICR, 0x4200, 0)) as raw:
        run(raw)
        assert info(raw) == hv.HV_VM_EXITINFO_SMI


@promise
@covers(hv_vcpu_apic_read="SUCCESS BAD_ARGUMENT", hv_vcpu_apic_write="SUCCESS")
def a_write_from_outside_tells_too(engine: str) -> None:
    """4.32: hv_vcpu_apic_write says when something is left to do, which hv_vcpu_exit_info names."""
    with apic_guest(_OUT) as raw, second_vcpu():
        assert hv.hv_vcpu_apic_write(raw.vcpu, _TPR_OFFSET, 0x20) is True
        assert (hv.hv_vcpu_apic_read(raw.vcpu, _TPR_OFFSET), raw.reg(hv.HV_X86_TPR)) == (0x20, 0x20)
        assert hv.hv_vcpu_apic_write(raw.vcpu, 0x300, 0xC4500) is False
        assert info(raw) == hv.HV_VM_EXITINFO_INIT_AP
        for offset in (0x21, 0x1000):
            fails(hv.HV_BAD_ARGUMENT, partial(hv.hv_vcpu_apic_read, raw.vcpu, offset))


@promise
@covers(hv_vcpu_exit_apic_access_read="ERROR", hv_vcpu_exit_inject_excp="SUCCESS")
def an_illegal_access_is_an_exception_to_inject(engine: str) -> None:
    """4.32: WRMSR with reserved bits leaves on the instruction with the #GP that the guest has earned."""
    with apic_guest(wrmsr(TPR, 0x100) + _OUT) as raw:
        run(raw)
        assert (info(raw), where(raw)) == (hv.HV_VM_EXITINFO_INJECT_EXCP, _WRMSR_AT)
        assert hv.hv_vcpu_exit_inject_excp(raw.vcpu) == (13, True, 0, True)
        fails(hv.HV_ERROR, lambda: hv.hv_vcpu_exit_apic_access_read(raw.vcpu))


@promise
@covers(hv_vcpu_apic_ctrl="SUCCESS BAD_ARGUMENT", hv_vcpu_exit_ioapic_eoi="SUCCESS", hv_vm_lapic_set_intr="SUCCESS")
def an_end_of_interrupt_can_be_told(engine: str) -> None:
    """4.32: with HV_APIC_CTRL_IOAPIC_EOI the end of a level-triggered interrupt leaves with its vector."""
    with apic_guest(_STI + _HLT, wrmsr(EOI, 0) + _OUT) as raw:
        hv.hv_vcpu_apic_ctrl(raw.vcpu, hv.HV_APIC_CTRL_IOAPIC_EOI)
        hv.hv_vm_lapic_set_intr(raw.vcpu, VECTOR, hv.HV_APIC_LEVEL_TRIGGER)
        assert run(raw) == _APIC_WRITE
        assert (info(raw), hv.hv_vcpu_exit_ioapic_eoi(raw.vcpu)) == (hv.HV_VM_EXITINFO_IOAPIC_EOI, VECTOR)
        assert run(raw) == _IO_REASON
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vcpu_apic_ctrl(raw.vcpu, 16))


@promise
@covers(hv_vcpu_apic_read="SUCCESS", hv_vm_lapic_set_intr="SUCCESS")
def an_interrupt_that_ends_itself(engine: str) -> None:
    """4.32: of HV_APIC_EDGE_TRIGGER_AEOI nothing stays in service."""
    with apic_guest(_STI + _HLT) as raw:
        for trigger, in_service in ((hv.HV_APIC_EDGE_TRIGGER_AEOI, 0), (hv.HV_APIC_EDGE_TRIGGER, 2)):
            raw.set(hv.HV_X86_RIP, CODE)
            hv.hv_vm_lapic_set_intr(raw.vcpu, VECTOR, trigger)
            run(raw)
            assert hv.hv_vcpu_apic_read(raw.vcpu, 0x120) == in_service


@promise
@covers(
    hv_vcpu_apic_ctrl="SUCCESS",
    hv_vcpu_apic_trigger_lvt="SUCCESS UNSUPPORTED",
    hv_vcpu_apic_write="SUCCESS",
    hv_vcpu_run_until="SUCCESS",
)
def the_timer_can_be_the_clients(engine: str) -> None:
    """4.32: with HV_APIC_CTRL_NO_TIMER only hv_vcpu_apic_trigger_lvt makes the timer's interrupt."""
    with apic_guest(_STI + _HLT) as raw:
        hv.hv_vcpu_apic_ctrl(raw.vcpu, hv.HV_APIC_CTRL_NO_TIMER)
        hv.hv_vcpu_apic_write(raw.vcpu, _TIMER_OFFSET, VECTOR)
        hv.hv_vcpu_apic_write(raw.vcpu, 0x380, 1)
        hv.hv_vcpu_run_until(raw.vcpu, hv.mach_absolute_time() + 10_000_000)
        assert raw.read(hv.VMCS_RO_EXIT_REASON) == 52
        hv.hv_vcpu_apic_trigger_lvt(raw.vcpu, hv.HV_APIC_LVT_FLAVOR_TIMER)
        assert run(raw) == _IO_REASON
        assert in_handler(raw)
        fails(hv.HV_UNSUPPORTED, lambda: hv.hv_vcpu_apic_trigger_lvt(raw.vcpu, 2))


@promise
@covers(
    hv_vcpu_apic_ctrl="SUCCESS",
    hv_vcpu_apic_read="SUCCESS",
    hv_vcpu_run_until="SUCCESS",
    hv_vcpu_write_msr="SUCCESS",
    hv_vm_lapic_msi="SUCCESS",
)
def msrs_that_the_controls_turn_on(engine: str) -> None:
    """4.32: the controls give MSRs for EOI, ICR and TPR in xAPIC mode too, and one to wait by."""
    with apic_guest(wrmsr(0x4000_0072, 0x30) + "66b9f0000040" + _STI + "0f32" + _HLT) as raw:
        hv.hv_vcpu_write_msr(raw.vcpu, BASE, 0xFEE0_0900)
        hv.hv_vcpu_apic_ctrl(raw.vcpu, hv.HV_APIC_CTRL_EOI_ICR_TPR | hv.HV_APIC_CTRL_GUEST_IDLE)
        hv.hv_vcpu_run_until(raw.vcpu, hv.mach_absolute_time() + 10_000_000)
        assert (raw.read(hv.VMCS_RO_EXIT_REASON), hv.hv_vcpu_apic_read(raw.vcpu, _TPR_OFFSET)) == (52, 0x30)
        hv.hv_vm_lapic_msi(0xFEE0_0000, VECTOR)
        assert run(raw) == _IO_REASON
        assert in_handler(raw)


@promise
@covers(
    hv_vcpu_apic_get_state="SUCCESS",
    hv_vcpu_apic_put_state="SUCCESS",
    hv_vcpu_apic_read="SUCCESS",
    hv_vm_ioapic_assert_irq="SUCCESS BAD_ARGUMENT",
    hv_vm_ioapic_deassert_irq="SUCCESS",
    hv_vm_ioapic_pulse_irq="SUCCESS",
    hv_vm_ioapic_read="SUCCESS BAD_ARGUMENT",
    hv_vm_ioapic_write="SUCCESS",
    hv_vm_lapic_msi="SUCCESS BAD_ARGUMENT",
    hv_vm_lapic_set_intr="BAD_ARGUMENT",
    hv_vm_send_ioapic_intr="SUCCESS",
)
def the_io_apic_by_its_addresses(engine: str) -> None:
    """4.32: I/O APIC addresses are full guest addresses; pins, messages and entries reach the local APIC."""
    with apic_guest(_STI + _HLT) as raw:
        hv.hv_vm_ioapic_write(0xFEC0_0000, 0x10 + 2 * 9)
        hv.hv_vm_ioapic_write(0xFEC0_0010, VECTOR)
        assert hv.hv_vm_ioapic_read(0xFEC0_0010) == VECTOR
        sends = (
            lambda: hv.hv_vm_ioapic_pulse_irq(9),
            lambda: (hv.hv_vm_ioapic_assert_irq(9), hv.hv_vm_ioapic_deassert_irq(9)),
            lambda: hv.hv_vm_lapic_msi(0xFEE0_0000, VECTOR),
            lambda: hv.hv_vm_send_ioapic_intr(VECTOR),
        )
        empty = bytearray(state(hv.HV_APIC_STATE_EXT_VER, 248))
        hv.hv_vcpu_apic_get_state(raw.vcpu, empty)
        for send in sends:
            hv.hv_vcpu_apic_put_state(raw.vcpu, bytes(empty))
            assert hv.hv_vcpu_apic_read(raw.vcpu, _IRR_2) == 0
            send()
            assert hv.hv_vcpu_apic_read(raw.vcpu, _IRR_2) == 2
        for call in (
            lambda: hv.hv_vm_ioapic_read(0xFEE0_0000),
            lambda: hv.hv_vm_ioapic_assert_irq(24),
            lambda: hv.hv_vm_lapic_msi(0x1000, VECTOR),
            lambda: hv.hv_vm_lapic_set_intr(raw.vcpu, 15, 0),
            lambda: hv.hv_vm_lapic_set_intr(raw.vcpu, VECTOR, 3),
            lambda: hv.hv_vm_lapic_set_intr(7, VECTOR, 0),
        ):
            fails(hv.HV_BAD_ARGUMENT, call)


@promise
@covers(
    hv_vcpu_apic_write="SUCCESS",
    hv_vcpu_inject_extint="SUCCESS BUSY",
    hv_vm_atpic_assert_irq="SUCCESS BAD_ARGUMENT",
    hv_vm_atpic_deassert_irq="SUCCESS",
    hv_vm_atpic_port_read="SUCCESS BAD_ARGUMENT",
    hv_vm_atpic_port_write="SUCCESS BAD_ARGUMENT",
)
def the_8259_pair_by_its_ports(engine: str) -> None:
    """4.32: the client hands port accesses on; hv_vcpu_inject_extint lets the vCPU take what the pair has."""
    with apic_guest(_STI + _HLT) as raw:
        for port, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1)):
            hv.hv_vm_atpic_port_write(port, value)
        hv.hv_vcpu_apic_write(raw.vcpu, 0x350, 0x1_0000)
        hv.hv_vm_atpic_assert_irq(3)
        hv.hv_vm_atpic_deassert_irq(3)
        assert hv.hv_vm_atpic_port_read(0x20) == 8
        hv.hv_vcpu_inject_extint(raw.vcpu)
        fails(hv.HV_BUSY, lambda: hv.hv_vcpu_inject_extint(raw.vcpu))
        assert run(raw) == _IO_REASON
        assert in_handler(raw)
        assert hv.hv_vm_atpic_port_read(0x20) == 0
        for call in (
            lambda: hv.hv_vm_atpic_assert_irq(2),
            lambda: hv.hv_vm_atpic_assert_irq(16),
            lambda: hv.hv_vm_atpic_port_read(0x22),
            lambda: hv.hv_vm_atpic_port_write(0x20, 256),
        ):
            fails(hv.HV_BAD_ARGUMENT, call)


def state(version: int, size: int) -> bytes:
    """A struct to be filled."""
    return struct.pack("<I", version).ljust(size, b"\0")


@promise
@covers(
    hv_vcpu_apic_get_state="SUCCESS",
    hv_vcpu_apic_put_state="SUCCESS BAD_ARGUMENT",
    hv_vcpu_apic_read="SUCCESS",
    hv_vcpu_apic_write="SUCCESS",
    hv_vm_atpic_get_state="SUCCESS",
    hv_vm_atpic_put_state="SUCCESS",
    hv_vm_ioapic_get_state="SUCCESS BAD_ARGUMENT",
    hv_vm_ioapic_put_state="SUCCESS BAD_ARGUMENT",
)
def states_are_versioned(engine: str) -> None:
    """4.32: get fills a struct whose version is set, put takes that back; a wrong one is HV_BAD_ARGUMENT."""
    with apic_guest(_HLT) as raw:
        hv.hv_vcpu_apic_write(raw.vcpu, _TPR_OFFSET, 0x50)
        local = bytearray(state(hv.HV_APIC_STATE_EXT_VER, 248))
        hv.hv_vcpu_apic_get_state(raw.vcpu, local)
        assert struct.unpack_from("<Q", local, 8) == (0xFEE0_0000,)
        assert struct.unpack_from("<I", local, 8 + 32) == (0x50,), "tpr"
        hv.hv_vcpu_apic_write(raw.vcpu, _TPR_OFFSET, 0)
        hv.hv_vcpu_apic_put_state(raw.vcpu, bytes(local))
        assert hv.hv_vcpu_apic_read(raw.vcpu, _TPR_OFFSET) == 0x50
        io = bytearray(state(hv.HV_IOAPIC_STATE_EXT_VER, 280))
        hv.hv_vm_ioapic_get_state(io)
        assert struct.unpack_from("<Q", io, 8) == (0x1_0000,), "masked"
        hv.hv_vm_ioapic_put_state(bytes(io))
        for primary in (True, False):
            pic = bytearray(state(hv.HV_ATPIC_STATE_EXT_VER, 20))
            hv.hv_vm_atpic_get_state(pic, primary)
            hv.hv_vm_atpic_put_state(bytes(pic), primary)
        for broken in (local[:-1], b"\x65" + local[1:], local[:8] + b"\xff" * 240):
            fails(hv.HV_BAD_ARGUMENT, partial(hv.hv_vcpu_apic_put_state, raw.vcpu, bytes(broken)))
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_ioapic_get_state(bytearray(280)), "version")
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_ioapic_put_state(bytes(io[:8]) + b"\xff" * 272))


@promise
@covers(
    hv_vcpu_apic_read="SUCCESS",
    hv_vcpu_apic_write="SUCCESS",
    hv_vcpu_create="SUCCESS",
    hv_vcpu_destroy="SUCCESS",
    hv_vm_set_apic_bus_freq="SUCCESS BAD_ARGUMENT BUSY",
)
def the_bus_frequency_comes_first(engine: str) -> None:
    """4.32: 16 MHz to 2 GHz, only while there is no vCPU; it is what the timers count by."""
    with strict_vm(hv.HV_VM_ACCEL_APIC):
        for wrong in (15_999_999, 2_000_000_001):
            fails(hv.HV_BAD_ARGUMENT, partial(hv.hv_vm_set_apic_bus_freq, wrong))
        hv.hv_vm_set_apic_bus_freq(1_000_000_000)
        vcpu = hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT)
        fails(hv.HV_BUSY, lambda: hv.hv_vm_set_apic_bus_freq(16_000_000))
        hv.hv_vcpu_apic_write(vcpu, 0x3E0, 0xB)
        hv.hv_vcpu_apic_write(vcpu, 0x380, 20_000_000)
        assert hv.hv_vcpu_apic_read(vcpu, 0x390) > 0
        waiting(lambda: hv.hv_vcpu_apic_read(vcpu, 0x390) == 0, 5)
        hv.hv_vcpu_destroy(vcpu)


@promise
@covers(
    hv_vcpu_apic_lsc_enter_imm32="SUCCESS",
    hv_vcpu_apic_lsc_enter_r32="SUCCESS BAD_ARGUMENT",
    hv_vcpu_apic_lsc_invalidate="SUCCESS",
)
def the_load_store_cache_is_checked_only(engine: str) -> None:
    """4.32: the software CPU needs no load-store cache; what is entered is checked, and nothing else happens."""
    with apic_guest(_OUT) as raw:
        hv.hv_vcpu_apic_lsc_enter_r32(raw.vcpu, True, CODE, 3, 0, hv.HV_X86_RAX, [RAM_BYTES], 1)
        hv.hv_vcpu_apic_lsc_enter_imm32(raw.vcpu, CODE, 7, 0, 0, [], 0)
        hv.hv_vcpu_apic_lsc_invalidate(raw.vcpu)
        for length, reg, uva, count in (
            (16, 2, [], 0),
            (3, 50, [], 0),
            (3, 2, [1], 1),
            (3, 2, [], 1),
            (3, 2, [0, 0, 0], 3),
        ):
            enter = partial(hv.hv_vcpu_apic_lsc_enter_r32, raw.vcpu, True, CODE, length, 0, reg, uva, count)
            fails(hv.HV_BAD_ARGUMENT, enter)
        assert run(raw) == _IO_REASON
