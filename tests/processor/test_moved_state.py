"""`cpu.state` of a guest whose memory has changed since: PDPTEs and pending debug exceptions are registers.

Intel SDM vol. 3, "PDPTE Registers", "Guest Non-Register State", "Checks on Guest Page-Directory-Pointer-Table Entries".
"""

from __future__ import annotations

import pytest

from pyhv import AccessRights, BadArgument, BadGuestState, CpuState, VCpu
from pyhv.arch.x86_64.vmcs import Vmcs

from .machine import BS, CODE, guest
from .tables import MODES, Machine, Mode, machine
from .test_control import PLAIN

PAE: Mode = next(mode for mode in MODES if mode.name == "pae-4K")


def entered(m: Machine) -> None:
    m.ring(0)
    m.control(PLAIN)
    assert m.fault("read", 0, PAE.linear) is None


def wipe_first_level(m: Machine) -> None:
    m.put(3, 0)


def moved(m: Machine, state: CpuState) -> VCpu:
    """The state in another vCPU of the same memory."""
    m.cpu.close()
    m.cpu = m.vm.vcpu()
    m.cpu.controls.exception_bitmap = 1 << 14
    m.cpu.state = state
    return m.cpu


def test_a_moved_pae_guest_keeps_the_tables_it_has_loaded() -> None:
    with machine(PAE) as m:
        entered(m)
        state = m.cpu.state
        assert state["pdpte1"] & 1
        wipe_first_level(m)
        assert m.cpu.state == state
        cpu = moved(m, CpuState.from_bytes(state.to_bytes()))
        assert cpu.translate(PAE.linear) == PAE.frame
        assert m.fault("read", 0, PAE.linear) is None
        assert cpu.state["pdpte1"] == state["pdpte1"]
        cpu.regs.cr3 = cpu.regs.cr3  # and a load reads them anew
        assert cpu.state["pdpte1"] == 0
        assert m.fault("read", 0, PAE.linear) == 0


def test_other_registers_do_not_load_pdptes() -> None:
    with machine(PAE) as m:
        entered(m)
        wipe_first_level(m)
        m.cpu.segments.gs.base = 0x1234
        m.cpu.regs.cr0 |= 1 << 3  # TS is none of the bits that load them
        m.cpu.regs.rflags = 2
        assert m.fault("read", 0, PAE.linear) is None
        m.cpu.regs.cr0 |= 1 << 30  # CD is
        assert m.fault("read", 0, PAE.linear) == 0


def test_a_state_taken_before_the_first_run_has_them() -> None:
    with machine(PAE) as m:
        m.ring(0)
        m.control(PLAIN)
        state = m.cpu.state
        assert state["pdpte1"] & 1
        wipe_first_level(m)
        moved(m, state)
        assert m.fault("read", 0, PAE.linear) is None


@pytest.mark.parametrize("bit", [1, 2, 5, 6, 7, 8, 40, 51, 52, 62, 63])
def test_a_state_with_reserved_bits_in_a_pdpte_is_refused(bit: int) -> None:
    with machine(PAE) as m:
        entered(m)
        state = m.cpu.state
        with pytest.raises(BadArgument, match="PDPTE"):
            m.cpu.state = state.replace(pdpte3=1 << bit | 1)
        assert m.cpu.state == state, "what was there has come back"
        m.cpu.state = state.replace(pdpte3=1 << bit)  # not present: nothing of it counts
        assert m.fault("read", 0, PAE.linear) is None
        m.cpu.write_vmcs(Vmcs.GUEST_PDPTE3, 1 << bit | 1)
        assert isinstance(m.cpu.run(), BadGuestState)


def test_pending_debug_exceptions_move_and_are_checked() -> None:
    with guest() as g:
        g.cpu.controls.exception_bitmap = 1 << 1
        state = g.cpu.state
        for reserved in (1 << 4, 1 << 13, 1 << 15, 1 << 17, 1 << 63):
            with pytest.raises(BadArgument, match="pending debug"):
                g.cpu.state = state.replace(pending_debug=reserved)
        assert g.cpu.state == state
        g.cpu.state = state.replace(pending_debug=BS)
        stopped = g.cpu.run(budget=5)
        assert (getattr(stopped, "vector", None), g.cpu.state["pending_debug"]) == (1, 0)
        assert g.cpu.regs.rip == state["rip"]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("cr0", 0x8000_0030, "CR0"),
        ("cr4", 1 << 13 | 1 << 22, "CR4"),
        ("efer", 0x501, "EFER"),
        ("efer", 0x1000, "EFER"),
        ("rflags", 0x8002, "RFLAGS"),
        ("rip", 1 << 32, "RIP"),
        ("activity", 4, "activity"),
        ("interruptibility", 3, "interruptibility"),
        ("cs.access_rights", 0x92, "CS"),
        ("ss.access_rights", 0x99, "SS"),
        ("tr.access_rights", 0x89, "TR"),
        ("gs.base", 1 << 63, "FS and GS"),
        ("idtr.limit", 0x1_0000, "IDTR"),
        ("pat", 2, "PAT"),
    ],
)
def test_a_state_that_no_processor_can_be_in_is_refused(name: str, value: int, word: str) -> None:
    with machine(next(mode for mode in MODES if mode.name == "32-bit-4K")) as m:
        m.cpu.reset()
        state = m.cpu.state
        with pytest.raises(BadArgument, match=word):
            m.cpu.state = state.replace({name: value})
        assert m.cpu.state == state
        m.cpu.state = state


def test_registers_that_cannot_be_entered_are_an_exit() -> None:
    with guest() as g:
        before = g.cpu.state
        rights = g.cpu.segments.tr.access_rights
        g.cpu.segments.tr.access_rights = AccessRights(0x89)
        stopped = g.cpu.run(budget=5)
        assert isinstance(stopped, BadGuestState)
        assert "TR" in stopped.reason
        assert g.cpu.regs.rip == before["rip"]
        g.cpu.segments.tr.access_rights = rights
        g.load("90")
        g.cpu.step()
        assert g.cpu.regs.rip == CODE + 1
