"""Promises of Apple's functions: port notifiers."""

from __future__ import annotations

import os
import struct

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import fails, raw_guest

PORT, NONE, ANY_VALUE, ANY_SIZE, EXIT_FULL = 0x60, hv.HV_ION_NONE, hv.HV_ION_ANY_VALUE, hv.HV_ION_ANY_SIZE, 8
OUT_AL, OUT_EAX, HLT = "e6 60", "66 e7 60", "f4"  # 16-bit code


def _messages(reader: int) -> list[tuple[int, int, int]]:
    """Port, size and value of each message that waits."""
    found: list[tuple[int, int, int]] = []
    while True:
        try:
            message = os.read(reader, 48)
        except BlockingIOError:
            return found
        assert len(message) == 48
        found.append(struct.unpack_from("<3Q", message, 24))


@promise
@covers(hv_vm_add_pio_notifier="SUCCESS", hv_vm_remove_pio_notifier="SUCCESS")
def a_notifier_takes_the_out_that_matches(engine: str) -> None:
    """4.35: a hit is one message {port, size, value}, no exit, RIP moves on; what does not match exits."""
    reader, writer = os.pipe2(os.O_NONBLOCK)
    with raw_guest(f"b0 41 {OUT_AL} b0 42 {OUT_AL} {OUT_EAX} {HLT}") as raw:
        raw.set(hv.HV_X86_RAX, 0)
        hv.hv_vm_add_pio_notifier(PORT, 1, 0x41, writer, NONE)
        assert raw.run() == hv.VMX_REASON_IO
        assert raw.reg(hv.HV_X86_RAX) & 0xFF == 0x42
        assert _messages(reader) == [(PORT, 1, 0x41)]
        hv.hv_vm_add_pio_notifier(PORT, 4, 0, writer, ANY_VALUE)
        raw.set(hv.HV_X86_RIP, raw.reg(hv.HV_X86_RIP) + raw.read(hv.VMCS_RO_VMEXIT_INSTR_LEN))
        assert raw.run() == hv.VMX_REASON_HLT
        assert _messages(reader) == [(PORT, 4, 0x42)]
        hv.hv_vm_remove_pio_notifier(PORT, 1, 0x41, writer, NONE)
    os.close(reader)
    os.close(writer)


@promise
@covers(hv_vm_add_pio_notifier="SUCCESS BAD_ARGUMENT ERROR", hv_vm_remove_pio_notifier="SUCCESS ERROR")
def a_notifier_is_checked(engine: str) -> None:
    """4.35: bad sizes, values, handles and flags fail; a duplicate fails, differing ones coexist; remove is exact."""
    reader, writer = os.pipe2(os.O_NONBLOCK)
    with raw_guest(HLT):
        add, remove = hv.hv_vm_add_pio_notifier, hv.hv_vm_remove_pio_notifier
        fails(hv.HV_BAD_ARGUMENT, lambda: add(PORT, 0, 0, writer, NONE), "0")
        fails(hv.HV_BAD_ARGUMENT, lambda: add(PORT, 3, 0, writer, NONE), "3")
        fails(hv.HV_BAD_ARGUMENT, lambda: add(PORT, 8, 0, writer, NONE), "8")
        fails(hv.HV_BAD_ARGUMENT, lambda: add(PORT, 1, 0x100, writer, NONE), "0x100")
        fails(hv.HV_BAD_ARGUMENT, lambda: add(PORT, 1, 0, 9999, NONE), "9999")
        fails(hv.HV_BAD_ARGUMENT, lambda: add(PORT, 1, 0, writer, 1), "0x1")
        add(PORT, 1, 7, writer, NONE)
        fails(hv.HV_ERROR, lambda: add(PORT, 1, 7, writer, NONE))
        add(PORT, 1, 8, writer, NONE)
        add(PORT, 7, 0, writer, ANY_SIZE | ANY_VALUE)
        fails(hv.HV_ERROR, lambda: remove(PORT, 1, 7, writer, EXIT_FULL))
        remove(PORT, 1, 7, writer, NONE)
        fails(hv.HV_ERROR, lambda: remove(PORT, 1, 7, writer, NONE))
    os.close(reader)
    os.close(writer)


@promise
@covers(hv_vm_add_pio_notifier="SUCCESS", hv_vm_remove_pio_notifier="SUCCESS")
def a_full_queue_drops_or_exits(engine: str) -> None:
    """4.35: the sixth message is dropped, or with EXIT_FULL exits; a dead port loses it, and remove still works."""
    reader, writer = os.pipe2(os.O_NONBLOCK)
    with raw_guest(" ".join([OUT_AL] * 8 + [HLT])) as raw:
        hv.hv_vm_add_pio_notifier(PORT, 1, 0, writer, ANY_VALUE)
        assert raw.run() == hv.VMX_REASON_HLT
        assert len(_messages(reader)) == 5
        hv.hv_vm_remove_pio_notifier(PORT, 1, 0, writer, ANY_VALUE)
    with raw_guest(" ".join([OUT_AL] * 8 + [HLT])) as raw:
        hv.hv_vm_add_pio_notifier(PORT, 1, 0, writer, ANY_VALUE | EXIT_FULL)
        assert raw.run() == hv.VMX_REASON_IO
        assert len(_messages(reader)) == 5
        os.close(reader)
        assert raw.run() == hv.VMX_REASON_HLT
        os.close(writer)
        hv.hv_vm_remove_pio_notifier(PORT, 1, 0, writer, ANY_VALUE | EXIT_FULL)


@promise
@covers(hv_vm_add_pio_notifier="SUCCESS")
def a_notifier_counts_an_eventfd_up(engine: str) -> None:
    """4.35: an eventfd in the place of a Mach port tells how many there were."""
    event = os.eventfd(0, os.EFD_NONBLOCK)
    with raw_guest(f"{OUT_AL} {OUT_AL} {OUT_AL} {HLT}") as raw:
        hv.hv_vm_add_pio_notifier(PORT, 1, 0, event, ANY_VALUE)
        assert raw.run() == hv.VMX_REASON_HLT
        assert os.eventfd_read(event) == 3
    os.close(event)
