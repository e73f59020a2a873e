"""Promises of the objects: exceptions, interrupts, windows."""

from __future__ import annotations

import struct

from .. import CrAccess, Event, Exception, Halted, InterruptWindow, Mapping
from ..errors import BadArgument, Busy, Unsupported
from ._promise import promise
from .guest import CODE, guest, raises

HANDLER = 0x2000


def _vector(ram: Mapping, vector: int, handler: int = HANDLER) -> None:
    """A real-mode vector with a handler that ends in HLT."""
    ram[vector * 4 : vector * 4 + 4] = struct.pack("<HH", handler, 0)
    ram[handler : handler + 1] = b"\xf4"


@promise
def exceptions_go_to_the_guest(engine: str) -> None:
    """objects: without a bitmap an exception is the guest's own affair."""
    with guest(engine, "0f0b") as g:
        _vector(g.ram, 6)
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rip == HANDLER + 1


@promise
def the_bitmap_makes_exceptions_exits(engine: str) -> None:
    """4.19: a bit of the exception bitmap makes that exception an exit, RIP on the instruction, nothing delivered."""
    with guest(engine, "90 0f0b") as g:
        g.cpu.controls.exception_bitmap = 1 << 6
        assert g.cpu.run() == Exception(6, None, None)
        assert g.cpu.regs.rip == CODE + 1
        assert g.cpu.regs.sp == 0x8000
        assert g.cpu.exit_info.interruption.vector == 6


@promise
def an_injected_interrupt_is_taken_first(engine: str) -> None:
    """4.25: an injected interrupt is delivered before the next instruction."""
    with guest(engine, "90 f4") as g:
        _vector(g.ram, 0x21)
        g.cpu.regs.if_ = True
        g.cpu.inject(0x21)
        raises(Busy, lambda: g.cpu.inject(0x22))
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rip == HANDLER + 1
        assert struct.unpack("<HHH", bytes(g.ram[0x7FFA:0x8000])) == (CODE, 0, 0x202)
        assert not g.cpu.regs.if_


@promise
def an_interrupt_must_be_possible(engine: str) -> None:
    """4.25: injecting an external interrupt while IF is 0 is refused, and nothing waits afterwards."""
    with guest(engine, "90 f4") as g:
        raises(BadArgument, lambda: g.cpu.inject(0x21), "interrupt_window")
        raises(BadArgument, lambda: g.cpu.inject(256))
        raises(BadArgument, lambda: g.cpu.inject(40, kind=Event.EXCEPTION), "31")
        raises(BadArgument, lambda: g.cpu.inject(13, 0), "real mode")
        raises(BadArgument, lambda: g.cpu.inject(13, kind=1), "kind 1")  # type: ignore[arg-type]
        assert g.cpu.run() == Halted()


@promise
def the_window_says_when(engine: str) -> None:
    """4.25: the interrupt-window exit fires at the first boundary where the guest can take an interrupt."""
    with guest(engine, "90 fb 90 90 f4") as g:  # nop; sti; nop (shadow); nop
        _vector(g.ram, 0x21)
        g.cpu.controls.interrupt_window = True
        assert g.cpu.run() == InterruptWindow()
        assert g.cpu.regs.rip == CODE + 3
        g.cpu.controls.interrupt_window = False
        g.cpu.inject(0x21)
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rip == HANDLER + 1


@promise
def an_nmi_needs_no_flag(engine: str) -> None:
    """4.25: an NMI is delivered through vector 2 with IF 0; another is blocked until IRET."""
    with guest(engine, "90 f4") as g:
        _vector(g.ram, 2)
        g.cpu.nmi()
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rip == HANDLER + 1
        raises(BadArgument, g.cpu.nmi, "NMI")


@promise
def an_injected_exception_has_its_error_code(engine: str) -> None:
    """4.25: in protected mode #GP needs an error code; one the IDT cannot take ends in a triple fault."""
    from .. import Shutdown  # noqa: PLC0415 - one promise needs it

    with guest(engine, "f4") as g:
        g.cpu.enter_protected()
        raises(BadArgument, lambda: g.cpu.inject(13, kind=Event.EXCEPTION), "error code")
        g.cpu.inject(13, 0)
        assert g.cpu.run() == Shutdown()


@promise
def a_control_that_cannot_be_is_unsupported(engine: str) -> None:
    """4.1: what the capability word does not allow is Unsupported, never ignored."""
    with guest(engine, "f4") as g:
        for name in ("rdseed", "rdrand", "pause", "mwait", "descriptor_table", "rdpmc", "cr3_load"):
            try:
                setattr(g.cpu.controls, name, True)
            except Unsupported as refused:
                assert name in str(refused)
                assert not getattr(g.cpu.controls, name)
            else:
                assert getattr(g.cpu.controls, name)


@promise
def what_is_asked_for_exits(engine: str) -> None:
    """4.1, 4.20: a control that could be set makes its instruction an exit, RIP on it; cleared, it runs again."""
    cases = {
        "rdtsc": ("0f31 f4", 16),
        "pause": ("f390 f4", 40),
        "invlpg": ("0f0138 f4", 14),
        "wbinvd": ("0f09 f4", 54),
        "cr3_store": ("0f20d8 f4", 28),
        "cr3_load": ("0f22d8 f4", 28),
        "mov_dr": ("0f21c0 f4", 29),
    }
    for name, (code, reason) in cases.items():
        with guest(engine, code) as g:
            try:
                setattr(g.cpu.controls, name, True)
            except Unsupported:
                continue
            g.cpu.run()
            assert (g.cpu.exit_info.reason, g.cpu.regs.rip) == (reason, CODE), name
            setattr(g.cpu.controls, name, False)
            assert g.cpu.run() == Halted(), name


@promise
def control_registers_have_a_mask_and_a_shadow(engine: str) -> None:
    """4.14: the guest reads masked bits of CR0 from the shadow; a write that would change one exits."""
    with guest(engine, "0f20c0 0c01 0f22c0 f4") as g:  # mov eax,cr0; or al,1; mov cr0,eax
        g.cpu.controls.cr0_mask, g.cpu.controls.cr0_shadow = 1 | 1 << 29, 1 << 29
        assert g.cpu.run() == CrAccess(0)
        assert g.cpu.regs.rip == CODE + 5
        assert g.cpu.regs.eax & (1 << 29), "NW reads from the shadow"
        assert not g.cpu.regs.cr0.pe
        g.cpu.controls.cr0_shadow = 1 | 1 << 29
        assert g.cpu.run() == Halted()


@promise
def without_a_mask_modes_change_silently(engine: str) -> None:
    """4.15: a guest that enters protected mode by itself does so without an exit."""
    with guest(engine, "0f20c0 0c01 0f22c0 f4") as g:
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.cr0.pe
