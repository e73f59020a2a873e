"""Debug exceptions as the guest sees them. Intel SDM vol. 3, "Debug Exceptions"."""

from __future__ import annotations

import pytest

from pyhv import BudgetSpent, Exception, MmioStore, MonitorTrap, PortOut, VirtualMachine

from .machine import BD, BS, CODE, DATA, DR6_FIXED, RF, TF, guest

DEBUGCTL, BTF = 0x1D9, 2
DE = 1 << 3


def test_single_step_traps_behind_each_instruction() -> None:
    with guest() as g:
        g.load("90 90 90")
        g.cpu.regs.rflags = 2 | TF
        assert g.handled() == (1, CODE + 1, 2 | TF)
        assert g.dr(6) == DR6_FIXED | BS
        assert not g.cpu.regs.rflags.tf
        g.back()
        assert g.handled() == (1, CODE + 2, 2 | TF)


def test_popf_that_sets_tf_traps_behind_the_next_instruction() -> None:
    with guest() as g:
        g.load("6802010000 9d 90 90")  # push 0x102; popf; nop
        assert g.handled()[:2] == (1, CODE + 7)


def test_loading_ss_puts_the_trap_off() -> None:
    with guest() as g:
        g.load("8ed0 90 90")  # mov ss, eax; nop
        g.cpu.regs.rax = 0x10
        g.cpu.regs.rflags = 2 | TF
        assert g.handled()[:2] == (1, CODE + 3)


def test_branch_steps() -> None:
    with guest() as g:
        g.load("90 90 eb02 90 90 90")
        g.cpu.msrs[DEBUGCTL] = BTF
        g.cpu.regs.rflags = 2 | TF
        assert g.handled()[:2] == (1, CODE + 6)
        assert g.cpu.msrs[DEBUGCTL] & BTF == 0


def test_a_step_of_a_repeated_instruction_is_one_iteration() -> None:
    with guest() as g:
        g.load("f3aa 90")  # rep stosb
        g.cpu.regs.rcx, g.cpu.regs.rdi = 3, DATA
        g.cpu.regs.rflags = 2 | TF
        assert g.handled() == (1, CODE, 2 | TF | RF)
        assert g.cpu.regs.rcx == 2
        g.back()
        assert g.handled()[1:] == (CODE, 2 | TF | RF)
        g.back()
        assert g.handled()[1:] == (CODE + 2, 2 | TF)


@pytest.mark.parametrize("number", range(4))
def test_instruction_breakpoint_is_a_fault_that_rf_passes(number: int) -> None:
    with guest() as g:
        g.load("90 90 90 f4")
        g.arm(CODE + 2, 0, number=number)
        assert g.handled() == (1, CODE + 2, 2)  # no RF: this is what a handler has to set
        assert g.dr(6) == DR6_FIXED | 1 << number
        g.ram[g.cpu.regs.rsp + 18] |= 1  # RF
        g.back()
        g.cpu.run()
        assert g.cpu.regs.rip == CODE + 4
        assert not g.cpu.regs.rflags.rf


def test_instruction_breakpoint_behind_a_load_of_ss_is_passed() -> None:
    with guest() as g:
        g.load("8ed0 90 90 f4")
        g.cpu.regs.rax = 0x10
        g.arm(CODE + 2, 0)
        g.arm(CODE + 3, 0, number=1)
        assert g.handled()[:2] == (1, CODE + 3)
        assert g.dr(6) == DR6_FIXED | 2


STORES = {1: "880425", 2: "66890425", 4: "890425", 8: "48890425"}  # mov [disp32], al … rax


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("distance", range(-9, 10))
def test_data_breakpoint_takes_every_overlap(size: int, distance: int) -> None:
    base, width = DATA + 0x100, 4
    with guest() as g:
        at = base + distance
        code = STORES[size] + at.to_bytes(4, "little").hex()
        g.load("90" + code + "90 f4")
        g.arm(base, 1, width)
        hits = at < base + width and base < at + size
        if hits:
            vector, rip, flags = g.handled()
            assert (vector, rip, flags) == (1, CODE + 1 + len(bytes.fromhex(code)), 2)
            assert g.dr(6) == DR6_FIXED | 1
        else:
            g.cpu.run()
            assert g.cpu.regs.rip == CODE + 3 + len(bytes.fromhex(code))
            assert g.dr(6) == DR6_FIXED


@pytest.mark.parametrize(
    ("code", "kind", "hits"),
    [
        ("8a0425 00300000", 3, True),  # mov al, [DATA]: read or write
        ("8a0425 00300000", 1, False),  # … write only
        ("fe0425 00300000", 1, True),  # inc byte [DATA]
        ("f0fe0425 00300000", 3, True),  # lock inc
        ("ff3425 00300000", 3, True),  # push [DATA]
        ("0fb60425 00300000", 3, True),  # movzx
        ("a4", 3, True),  # movsb
    ],
)
def test_data_breakpoint_by_kind_of_access(code: str, kind: int, hits: bool) -> None:
    with guest() as g:
        g.load(code + "90 f4")
        g.cpu.regs.rsi, g.cpu.regs.rdi = DATA, DATA + 0x80
        g.arm(DATA, kind)
        g.cpu.run()
        assert (g.dr(6) & 0xF == 1) is hits


def test_data_breakpoint_in_a_repeated_store_stops_behind_its_iteration() -> None:
    with guest() as g:
        g.load("f3aa 90")
        g.cpu.regs.rcx, g.cpu.regs.rdi = 100, DATA
        g.arm(DATA + 40, 1)
        assert g.handled() == (1, CODE, 2 | RF)
        assert g.cpu.regs.rcx == 59


def test_two_breakpoints_at_once_are_both_in_dr6_and_old_ones_go() -> None:
    with guest() as g:
        g.load("890425 00300000 90 f4")
        g.arm(DATA, 1, 4, number=1)
        g.arm(DATA + 2, 3, 1, number=3)
        g.set_dr(6, DR6_FIXED | 1 | BD)
        g.handled()
        assert g.dr(6) == DR6_FIXED | BD | 0b1010


def test_a_data_breakpoint_on_an_instruction_that_faults_is_not_reported() -> None:
    with guest() as g:
        g.load("ff3425 00300000")  # push [DATA] to a stack that is not there
        g.cpu.regs.rsp = 0x7FFF_0000
        g.arm(DATA, 3)
        g.cpu.controls.exception_bitmap = 1 << 14
        assert isinstance(g.cpu.run(), Exception)
        assert g.dr(6) == DR6_FIXED


def test_port_breakpoint_needs_de_and_comes_behind_the_access() -> None:
    for de in (0, DE):
        with guest() as g:
            g.load("e680 90 90 f4")  # out 0x80, al
            g.cpu.regs.cr4 |= de
            g.arm(0x80, 2)
            assert isinstance(g.cpu.run(), PortOut)
            assert g.cpu.regs.rip == CODE + 2
            if de:
                assert g.handled()[:2] == (1, CODE + 2)
            else:
                g.cpu.run()
            assert g.dr(6) & 0xF == (1 if de else 0)


def test_port_breakpoint_on_in_waits_for_the_answer() -> None:
    with guest() as g:
        g.load("e480 90 f4")
        g.cpu.regs.cr4 |= DE
        g.arm(0x80, 2)
        g.cpu.run()
        assert g.dr(6) == DR6_FIXED
        g.cpu.answer(0x5A)
        assert g.handled()[:2] == (1, CODE + 2)
        assert g.cpu.regs.rax & 0xFF == 0x5A


def test_data_breakpoint_on_a_device_comes_behind_the_posted_store() -> None:
    with guest() as g:
        g.load("890425 00001000 90 f4".replace("00001000", "00005000"))  # mov [0x500000], eax
        g.ram[0x12008:0x12010] = (0x80_0000 | 0x87).to_bytes(8, "little")
        g.load("890425 00002000 90 f4")  # mov [0x200000], eax: GPA 0x800000
        g.arm(0x20_0000, 1, 4)
        assert isinstance(g.cpu.run(), MmioStore)
        assert g.dr(6) == DR6_FIXED
        assert g.handled()[:2] == (1, CODE + 7)


@pytest.mark.parametrize("code", ["0f21f8", "0f23f8", "0f21c0"])
def test_general_detect(code: str) -> None:
    with guest() as g:
        g.load(code)
        g.cpu.regs.rax = 0x400
        g.set_dr(7, 0x2400)
        assert g.handled() == (1, CODE, 2 | RF)
        assert g.dr(6) == DR6_FIXED | BD
        assert g.dr(7) == 0x400, "GD goes on the way to the handler"


def test_guest_arms_and_disarms_by_itself() -> None:
    with guest() as g:
        # mov dr0, rbx; mov dr7, rcx; mov [rbx], al; mov dr7, rdx; mov [rbx], al; hlt
        g.load("0f23c3 0f23f9 8803 0f23fa 8803 f4")
        g.cpu.regs.rbx, g.cpu.regs.rcx, g.cpu.regs.rdx = DATA, 0x1_0401, 0x400
        assert g.handled()[:2] == (1, CODE + 8)
        g.back()
        g.cpu.run()
        assert g.cpu.regs.rip == CODE + 14


def test_an_intercepted_debug_exception_leaves_dr6_alone() -> None:
    with guest() as g:
        g.load("90 90")
        g.cpu.controls.exception_bitmap = 1 << 1
        g.cpu.regs.rflags = 2 | TF
        assert g.cpu.run() == Exception(1, None, None)
        assert g.cpu.exit_info.qualification == BS
        assert g.dr(6) == DR6_FIXED


@pytest.mark.judges("MOV dr ry")
def test_dr7_keeps_its_fixed_bits() -> None:
    with guest() as g:
        g.load("0f23f8")
        g.cpu.regs.rax = 0xFFFF_FFFF
        assert g.cpu.step() == MonitorTrap()
        assert g.dr(7) == 0xFFFF_27FF


def test_a_handler_that_is_a_breakpoint_itself_ends_with_the_budget() -> None:
    """#DB at its own handler for ever: each delivery costs one, so `budget` ends the run."""
    with VirtualMachine(engine="soft") as vm:
        vm.map(at=0, size=0x10000)  # an IVT of zeros: every handler is at 0000:0000
        with vm.vcpu() as cpu:
            cpu.regs.dr0, cpu.regs.dr7, cpu.regs.rip, cpu.regs.rsp = 0, 0x401, 0, 0x8000
            assert cpu.run(budget=1000) == BudgetSpent()
            assert cpu.regs.rip == 0
