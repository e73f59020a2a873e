"""What the KVM engine does beyond the promises that every engine keeps."""

from __future__ import annotations

import mmap
import time
from copy import copy
from pathlib import Path
from threading import Thread

import pytest

from pyhv import (
    Breakpoint,
    BudgetSpent,
    Halted,
    MmioStore,
    MonitorTrap,
    MsrRead,
    MsrWrite,
    Perm,
    PortIn,
    Shutdown,
    VirtualMachine,
)
from pyhv.addresses import GPA
from pyhv.engines import select
from pyhv.engines.base import EngineStatus
from pyhv.engines.kvm import KvmEngine, state
from pyhv.engines.select import ENGINES
from pyhv.errors import BadArgument, EngineUnavailable, NoResources, Unsupported
from pyhv.testing.guest import CODE, HOLE, guest, identity_tables, in_thread

LOOP = "b96400 01c8 050700 40 e2f8 f4"  # mov cx,100; l: add ax,cx; add ax,7; inc ax; loop l; hlt


@pytest.mark.parametrize(("one", "other"), [("soft", "kvm"), ("kvm", "soft")])
def test_a_state_moves_in_mid_program(kvm: str, one: str, other: str) -> None:
    with guest(one, LOOP) as g:
        assert g.cpu.run(budget=123) == BudgetSpent()
        middle = g.cpu.state
        assert g.cpu.run() == Halted()
        end = g.cpu.state
    with guest(other, LOOP) as g:
        g.cpu.state = middle
        assert g.cpu.state.diff(middle) == []
        assert g.cpu.run() == Halted()
        assert g.cpu.state.diff(end) == []


def test_a_long_mode_state_moves(kvm: str) -> None:
    code = "f20f2ac0 48ffc0 f4 90 f4"  # cvtsi2sd xmm0, eax; inc rax; hlt; nop; hlt
    ends = []
    for first, second in (("soft", "kvm"), ("kvm", "soft")):
        with guest(first, code) as g:
            g.cpu.enter_long(identity_tables(g.ram, 0x9000))
            g.cpu.regs.cr4 = g.cpu.regs.cr4.replace(osfxsr=1)
            g.cpu.regs.rax, g.cpu.msrs.lstar, g.cpu.regs.dr0 = 77, 0xFFFF_8000_0000_1000, 0x1234
            assert g.cpu.run() == Halted()
            state = g.cpu.state
        with guest(second, code) as g:
            identity_tables(g.ram, 0x9000)
            g.cpu.state = state
            assert g.cpu.run() == Halted()
            ends.append(g.cpu.state)
    assert ends[0].diff(ends[1]) == []


@pytest.mark.parametrize("perm", [Perm.READ, Perm.RW, Perm.WRITE])
def test_rights_without_a_slot_are_kept_access_by_access(kvm: str, perm: Perm) -> None:
    with guest(kvm, "a00000 fec0 a20000 f4") as g:  # mov al,[0]; inc al; mov [0],al
        data = g.vm.map(at=HOLE, size=4096, perm=perm)
        data[0] = 7
        found = [g.cpu.run()]
        if not perm & Perm.READ:
            g.cpu.answer(7)
            found = [g.cpu.run()]
        if not perm & Perm.WRITE:
            assert found == [MmioStore(GPA(HOLE), 1, 8)]
            found = [g.cpu.run()]
        assert found == [Halted()]
        assert data[0] == (8 if perm & Perm.WRITE else 7)


def test_it_runs_off_the_main_thread(kvm: str) -> None:
    with guest(kvm, "ebfe") as g:
        moment = g.vm.clock.now_ns + 20_000_000
        in_thread(lambda: g.cpu.run(deadline_ns=moment))
        assert g.vm.clock.now_ns >= moment


def test_a_vcpu_comes_back_fresh(kvm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with VirtualMachine(kvm) as vm:
        ram = vm.map(at=0, size=0x2000)
        ram[CODE : CODE + 3] = bytes.fromhex("e461f4")
        monkeypatch.setattr(ENGINES["kvm"]._system, "max_vcpus", 2)  # type: ignore[attr-defined]
        for _ in range(4):
            with vm.vcpu() as cpu:
                cpu.regs.rip = CODE
                assert cpu.regs.rax == 0
                assert cpu.run() == PortIn(0x61, 1, 1)  # left unanswered


def test_a_written_rip_forgets_what_waits(kvm: str) -> None:
    with guest(kvm, "e461 f4 a01000 f4") as g:
        g.cpu.regs.rax = 0xAABB
        assert g.cpu.run() == PortIn(0x61, 1, 1)
        g.cpu.regs.rip = CODE + 2
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rax == 0xAABB
        g.cpu.run()
        g.cpu.regs.rip = CODE + 2
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rax == 0xAABB


def test_what_was_answered_long_ago_is_no_step(kvm: str) -> None:
    with guest(kvm, "e461 f4 40 40 f4") as g:
        assert g.cpu.run() == PortIn(0x61, 1, 1)
        g.cpu.answer(0x5A)
        assert g.cpu.run() == Halted()
        assert g.cpu.step() == MonitorTrap()
        assert (g.cpu.regs.rip, g.cpu.regs.al) == (CODE + 4, 0x5B)


def test_an_answer_is_not_undone_by_other_registers(kvm: str) -> None:
    with guest(kvm, "e461 f4") as g:
        assert g.cpu.run() == PortIn(0x61, 1, 1)
        g.cpu.answer(0x5A)
        g.cpu.regs.rbx = 7
        assert g.cpu.run() == Halted()
        assert (g.cpu.regs.rax, g.cpu.regs.rbx) == (0x5A, 7)


def test_an_msr_leaves_only_where_it_was_asked_for(kvm: str) -> None:
    code = "66b9820000c0 0f32 f4"
    with guest(kvm, code, msr_exits=[0xC000_0082]) as g, g.vm.vcpu() as other:
        other.regs.rip, other.msrs.lstar = CODE, 0x77
        assert other.run() == Halted()
        assert other.regs.rax == 0x77
        assert g.cpu.run() == MsrRead(0xC000_0082)
        g.cpu.answer(5)
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rax == 5


def test_many_msrs_can_leave(kvm: str) -> None:
    chosen = [0x10, *range(0x200, 0x2A0), *range(0xC000_0080, 0xC000_0104), 0xC001_0015]
    with guest(kvm, "0f32 0f30 f4", msr_exits=chosen) as g:  # rdmsr; wrmsr; hlt
        for msr in chosen[::7]:
            g.cpu.regs.rip, g.cpu.regs.rcx = CODE, msr
            assert g.cpu.run() == MsrRead(msr)
            g.cpu.answer(0x5_0000_0006)
            assert g.cpu.run() == MsrWrite(msr, 0x5_0000_0006)
            g.cpu.answer()
            assert g.cpu.run() == Halted()
        g.cpu.regs.rip, g.cpu.regs.rcx = CODE, 0x277  # PAT lies among them
        assert g.cpu.run() == MsrRead(0x277)
        g.cpu.refuse()
    with VirtualMachine(kvm) as vm, pytest.raises(NoResources, match="17 places"):
        vm.vcpu(msr_exits=[n << 20 for n in range(17)])


def test_an_msr_of_nobody_leaves_though_another_vcpu_chose_it(kvm: str) -> None:
    nobody = 0x1234_5678
    code = f"66b9{nobody.to_bytes(4, 'little').hex()} 0f32 f4"
    with guest(kvm, code, msr_exits=True) as g, g.vm.vcpu(msr_exits=[nobody]):
        assert g.cpu.run() == MsrRead(nobody)


def test_an_msr_of_kvm_s_can_be_written_though_another_vcpu_chose_it(kvm: str) -> None:
    code = "66b900020000 0f30 0f32 f4"  # IA32_MTRR_PHYSBASE0
    with guest(kvm, code) as g, g.vm.vcpu(msr_exits=[0x200]):
        g.cpu.regs.rax = 0x1000_0006
        assert g.cpu.run() == Halted()
        assert (g.cpu.regs.eax, g.cpu.regs.rip) == (0x1000_0006, CODE + 11)


def test_stepping_ends_before_hlt_exits_and_counts_iterations(kvm: str) -> None:
    with guest(kvm, "b90300 bf0030 f3aa f4") as g:
        assert [g.cpu.step() for _ in range(5)] == [MonitorTrap()] * 5
        assert (g.cpu.regs.cx, g.cpu.regs.rip) == (0, CODE + 8)
        assert g.cpu.step() == Halted()


def test_what_it_cannot_do_is_unsupported(kvm: str) -> None:
    with guest(kvm, "f4") as g:
        for name in ("nmi_window", "rdtsc", "mov_dr", "monitor_trap", "wbinvd"):
            with pytest.raises(Unsupported, match=name):
                setattr(g.cpu.controls, name, True)
        with pytest.raises(Unsupported, match="exceptions"):
            g.cpu.controls.exception_bitmap = 1
        with pytest.raises(Unsupported):
            _ = g.cpu.exit_info.qualification
        assert g.cpu.run() == Halted()
    with pytest.raises(Unsupported, match="counted"):
        VirtualMachine(kvm, ns_per_instruction=1)


def test_a_state_that_cannot_be_entered_is_refused(kvm: str) -> None:
    with guest(kvm, "f4") as g, pytest.raises(BadArgument):
        g.cpu.state = g.cpu.state.replace({"cs.access_rights": 0x1_0000})


def test_a_triple_fault_is_an_exit(kvm: str) -> None:
    with guest(kvm, "0f0b") as g:
        g.cpu.enter_protected()
        assert g.cpu.run() == Shutdown()


def test_file_descriptors_go(kvm: str) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with guest(kvm, "f4") as g:
        g.cpu.run()
    before = count()
    for _ in range(5):
        with guest(kvm, "f4") as g:
            g.cpu.run()
    assert count() == before


def test_a_borrowed_buffer_stays_one(kvm: str) -> None:
    with mmap.mmap(-1, 4096) as mine, VirtualMachine(kvm) as vm:
        mine[0] = 0xF4
        vm.map(mine, at=0)
        with vm.vcpu() as cpu:
            assert cpu.run() == Halted()
        vm.unmap(at=0, size=4096)


def test_an_emulated_kvm_is_not_chosen_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, chosen in ((False, "soft"), (True, "kvm")):
        status = EngineStatus("kvm", True, "", fast=fast)
        monkeypatch.setattr(KvmEngine, "status", lambda self, status=status: status)
        assert select.choose(None).name == chosen


def test_a_missing_kvm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KvmEngine, "status", lambda self: EngineStatus("kvm", False, "no device here"))
    assert select.choose(None).name == "soft"
    with pytest.raises(EngineUnavailable, match="no device here"):
        select.choose("kvm")


def test_a_vcpu_of_kvm_that_is_used_again_keeps_no_breakpoint(kvm: str) -> None:
    """KVM never gives a vCPU back: beyond what it makes the engine takes those that were closed."""
    with guest(kvm, "90 90 f4") as g:
        engine_vm = g.cpu.engine.vm  # type: ignore[attr-defined]
        engine_vm.system, system = copy(engine_vm.system), engine_vm.system
        engine_vm.system.max_vcpus, engine_vm.is_trusted = 1, True  # else the twin stops there
        g.cpu.breakpoints.add(CODE + 1)
        assert isinstance(g.cpu.run(), Breakpoint)
        first = g.cpu.engine.fd  # type: ignore[attr-defined]
        g.cpu.close()
        again = g.vm.vcpu()
        assert again.engine.fd == first  # type: ignore[attr-defined]
        again.regs.rip = CODE
        assert again.run() == Halted()
        engine_vm.system = system


def test_two_threads_choose_msrs(kvm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sets the filter of the whole VM: none takes away what the other has chosen."""
    given = []

    def slowly(fd: int, msrs: set[int]) -> None:
        time.sleep(0.02)
        given.append(set(msrs))

    monkeypatch.setattr("pyhv.engines.kvm.vm.set_filter", slowly)
    with VirtualMachine(kvm) as vm:
        threads = [Thread(target=lambda msr=msr: vm.vcpu(msr_exits=[msr])) for msr in range(0x100, 0x106)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert given[-1] == set(range(0x100, 0x106))


@pytest.mark.parametrize("engine", ["soft", "kvm"])
@pytest.mark.parametrize("msr", ["030100c0", "800000c0"])
def test_a_value_that_no_processor_takes_is_gp_in_the_guest(kvm: str, engine: str, msr: str) -> None:
    """The high halves of TSC_AUX and EFER are reserved. SDM vol. 4, "Architectural MSRs"."""
    with guest(engine, f"66b9{msr} 66ba04000000 0f30 f4") as g:  # mov ecx, msr; mov edx, 4; wrmsr; hlt
        g.ram[13 * 4 : 13 * 4 + 4] = bytes.fromhex("00200000")
        g.ram[0x2000] = 0xF4
        assert g.cpu.run(deadline_ns=g.vm.clock.now_ns + 5_000_000_000) == Halted()
        assert g.cpu.regs.rip == 0x2001
        assert g.cpu.msrs[int.from_bytes(bytes.fromhex(msr), "little")] == 0


def test_a_value_that_this_kvm_does_not_take_is_gp_in_the_guest(kvm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the software CPU would: it is refused at the instruction, and no run fails for it afterwards."""
    with guest(kvm, "66b974010000 66b808000000 0f30 f4") as g, g.vm.vcpu(msr_exits=[0x174]):  # SYSENTER_CS
        g.ram[13 * 4 : 13 * 4 + 4] = bytes.fromhex("00200000")
        g.ram[0x2000] = 0xF4
        takes = state.takes_msr
        for module in ("state", "registers"):
            name = f"pyhv.engines.kvm.{module}.takes_msr"
            monkeypatch.setattr(name, lambda fd, msr, value: (msr, value) != (0x174, 8) and takes(fd, msr, value))
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rip == 0x2001
        assert g.cpu.msrs[0x174] == 0
        with pytest.raises(BadArgument, match="KVM refuses"):
            g.cpu.msrs[0x174] = 8
        assert g.cpu.msrs[0x174] == 0
