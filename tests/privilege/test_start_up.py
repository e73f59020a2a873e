"""INIT and start-up messages, interrupt shadows, NMI blocking.

Intel SDM vol. 3, "Multiple-Processor (MP) Initialization", "Masking Maskable Hardware Interrupts", "Masking Exceptions
and Interrupts When Switching Stacks", "Handling Multiple NMIs"; vol. 2, "STI—Set Interrupt Flag".
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pyhv import DeadlinePassed, Halted, InterruptWindow, VirtualMachine
from pyhv.arch.x86_64.registers import Reg
from pyhv.arch.x86_64.vmcs import Vmcs
from pyhv.engines.base import EngineVcpu, EngineVm
from pyhv.engines.soft.engine import SoftEngine

from .machine import CODE, CODE0, DATA0, HANDLERS, STACK0, Machine

IF = 1 << 9
KICKED, INIT, START_UP, TIMER = 1, 3, 4, 52


def test_init_and_start_up(assemble: Callable[[str, int, int], bytes]) -> None:
    with VirtualMachine("soft") as vm:
        ram = vm.map(at=0, size=1 << 20)
        code = assemble("mov ax, cs; mov bx, 7; hlt", 0, 16)
        ram[0x9A000 : 0x9A000 + len(code)] = code
        with vm.vcpu(), vm.vcpu() as second:
            second.enter_protected()
            second.regs.rbx = 5
            second.msrs[0x174] = 0x1234
            second.engine.send_init()  # type: ignore[attr-defined]
            assert second.run(deadline_ns=vm.clock.now_ns + 2_000_000) == DeadlinePassed(), "it waits"
            assert (second.regs.rbx, second.regs.cr0 & 1, second.regs.rflags) == (0, 0, 2)
            assert second.msrs[0x174] == 0x1234, "INIT leaves MSRs"
            second.engine.send_start_up(0x9A)  # type: ignore[attr-defined]
            assert second.run() == Halted()
            assert (second.regs.rax, second.regs.rbx, second.segments.cs.base) == (0x9A00, 7, 0x9A000)
            second.engine.send_start_up(0x55)  # type: ignore[attr-defined]
            second.regs.rip = 0
            assert second.run() == Halted()
            assert second.regs.rax == 0x9A00, "without INIT a start-up message is ignored"


def test_the_boot_processor_starts_at_the_reset_vector() -> None:
    with VirtualMachine("soft") as vm:
        vm.map(at=0xFFFF_F000, size=4096)[0xFF0:0xFF1] = b"\xf4"
        with vm.vcpu() as cpu:
            cpu.enter_protected()
            cpu.engine.send_init()  # type: ignore[attr-defined]
            assert cpu.run() == Halted()
            assert (cpu.regs.rip, cpu.segments.cs.base) == (0xFFF1, 0xFFFF_0000)


def test_a_start_up_message_wakes_one_that_waits(assemble: Callable[[str, int, int], bytes]) -> None:
    with VirtualMachine("soft") as vm:
        vm.map(at=0, size=1 << 20)[0x8000:0x8001] = b"\xf4"
        with vm.vcpu(), vm.vcpu() as second:
            second.engine.send_init()  # type: ignore[attr-defined]

            def start() -> None:
                time.sleep(0.02)
                second.engine.send_start_up(8)  # type: ignore[attr-defined]

            thread = threading.Thread(target=start)
            thread.start()
            assert second.run(deadline_ns=vm.clock.now_ns + 5_000_000_000) == Halted()
            thread.join()
            assert second.segments.cs.selector == 0x800


@pytest.fixture
def raw_vm() -> Iterator[EngineVm]:
    """Memory with an endless loop at 0."""
    vm, ram = SoftEngine().create_vm(), mmap.mmap(-1, 4096)
    ram[:2] = b"\xeb\xfe"
    vm.map(0, ctypes.addressof(ctypes.c_char.from_buffer(ram)), 4096, 7)
    yield vm
    vm.close()


def test_in_apple_s_manner_both_are_exits(raw_vm: EngineVm) -> None:
    """SDM vol. 3C, "Other Causes of VM Exits": INIT is exit 3; a start-up message exit 4, for one that waits for it."""
    raw = raw_vm.vcpu(0, True)
    raw.write_register(Reg.CR0, 0x30)

    def soon(vcpu: EngineVcpu) -> int:
        return vcpu.run_raw(raw_vm.clock.now_ns + 2_000_000)

    raw.send_start_up(0x12)  # type: ignore[attr-defined]
    assert soon(raw) == TIMER, "nobody waits for it"
    raw.send_init()  # type: ignore[attr-defined]
    raw.send_start_up(0x9A)  # type: ignore[attr-defined]
    raw.write_register(Reg.RBX, 7)
    assert soon(raw) == INIT
    assert (raw.read_vmcs(Vmcs.EXIT_QUALIFICATION), raw.read_register(Reg.RBX)) == (0, 7), "the client resets it"
    raw.write_vmcs(Vmcs.GUEST_ACTIVITY, 3)
    assert soon(raw) == START_UP
    assert raw.read_vmcs(Vmcs.EXIT_QUALIFICATION) == 0x9A
    assert (raw.read_vmcs(Vmcs.GUEST_ACTIVITY), raw.read_register(Reg.RIP)) == (3, 0)
    raw.kick()
    raw.send_start_up(8)  # type: ignore[attr-defined]
    assert soon(raw) == START_UP
    assert soon(raw) == KICKED, "a kick is not lost to another exit"


def test_a_wait_for_a_start_up_message_blocks_init(raw_vm: EngineVm) -> None:
    """SDM vol. 3C, "Other Causes of VM Exits": INIT is blocked while it waits, and comes once when it waits no more."""
    raw = raw_vm.vcpu(0, True)
    raw.write_register(Reg.CR0, 0x30)
    raw.write_vmcs(Vmcs.GUEST_ACTIVITY, 3)

    def soon() -> int:
        return raw.run_raw(raw_vm.clock.now_ns + 2_000_000)

    raw.send_init()  # type: ignore[attr-defined]
    raw.send_init()  # type: ignore[attr-defined]
    assert soon() == TIMER
    raw.send_start_up(0x9A)  # type: ignore[attr-defined]
    assert soon() == START_UP
    assert soon() == TIMER
    raw.write_vmcs(Vmcs.GUEST_ACTIVITY, 0)
    assert (soon(), raw.read_register(Reg.RIP)) == (INIT, 0)
    assert soon() == TIMER, "two are one, and it is taken"


SHADOWS = {
    # code, and where the window opens with IF set: behind how many bytes
    "STI": ("sti; nop; nop; hlt", 0, 2),
    "STI with IF already set": ("sti; nop; nop; hlt", IF, 0),
    "STI twice": ("sti; sti; nop; hlt", 0, 2),
}


@pytest.mark.parametrize("name", SHADOWS)
def test_the_shadow_of_sti(machine: Machine, name: str) -> None:
    text, flags, behind = SHADOWS[name]
    machine.code(text)
    machine.cpu.regs.rflags = 2 | flags
    machine.cpu.controls.interrupt_window = True
    assert machine.cpu.run() == InterruptWindow()
    assert machine.cpu.regs.rip == CODE + behind


@pytest.mark.parametrize("text", ["mov ss, ax", "push eax; pop ss"])
def test_the_shadow_of_a_stack_load(machine: Machine, text: str) -> None:
    before = machine.code(f"mov eax, {DATA0}; mov ebx, 1; {text}")
    machine.code(f"mov eax, {DATA0}; mov ebx, 1; {text}; nop; nop; hlt")
    while machine.cpu.regs.rip < CODE + before:
        machine.cpu.step()
    machine.cpu.regs.rflags = 2 | IF
    machine.cpu.controls.interrupt_window = True
    assert machine.cpu.run() == InterruptWindow()
    assert machine.cpu.regs.rip == CODE + before + 1


def test_nmis_are_blocked_until_iret_also_one_that_faults(machine: Machine) -> None:
    machine.code("nop; hlt")
    machine.cpu.nmi()
    machine.run()
    assert machine.halted_in() == 2
    blocking = 0x4824
    assert machine.cpu.read_vmcs(blocking) == 8
    machine.code("push 2; push 0; push 0; iretd", HANDLERS + 0x2000)
    machine.cpu.regs.rip = HANDLERS + 0x2000
    machine.run()
    assert machine.halted_in() == 13
    assert machine.cpu.read_vmcs(blocking) == 0


def test_an_interrupt_is_delivered_with_its_state(machine: Machine) -> None:
    machine.code("nop; hlt")
    machine.cpu.regs.rflags = 2 | IF
    machine.cpu.inject(0x40)
    machine.run()
    assert (machine.halted_in(), machine.frame(3)) == (0x40, [CODE, CODE0, 2 | IF])
    assert machine.cpu.regs.rsp == STACK0 - 12
