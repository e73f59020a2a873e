"""What hv-fuzz has found, each as a small guest."""

from __future__ import annotations

import struct

from pyhv import BudgetSpent, Halted, MmioLoad, PortIn, Table, VCpu, VirtualMachine, Vmcs

CODE, GDT, HANDLER = 0x1000, 0x2000, 0x3000


def put(vm: VirtualMachine, cpu: VCpu, code: bytes) -> None:
    vm.write(CODE, code)
    cpu.regs.rip = CODE


def test_an_event_waits_for_one_iteration_of_a_rep_that_was_answered() -> None:
    """It waited for all of them: the guest asked the port again and again while the event was pending."""
    with VirtualMachine(engine="soft") as vm, vm.vcpu() as cpu:
        vm.map(at=0, size=1 << 16)
        put(vm, cpu, bytes.fromhex("F3 6C F4"))  # rep insb · hlt
        vm.write(4 * 0x40, struct.pack("<HH", HANDLER, 0))
        vm.write(HANDLER, b"\xf4")
        cpu.regs.rdi, cpu.regs.rcx, cpu.regs.rdx, cpu.regs.rsp = 0x5000, 3, 0x60, 0x8000
        cpu.regs.rflags = 0x202
        assert isinstance(cpu.run(), PortIn)
        cpu.answer(b"A")
        cpu.inject(0x40)
        assert isinstance(cpu.run(), Halted)
        assert (cpu.regs.rip, cpu.regs.rcx, vm.read(0x5000, 2)) == (HANDLER + 1, 2, b"A\0")


def test_between_two_iterations_the_flags_have_rf() -> None:
    """They did not, so a saved vCPU pushed other flags than the one it was saved from."""
    with VirtualMachine(engine="soft") as vm, vm.vcpu() as cpu:
        vm.map(at=0, size=1 << 16)
        put(vm, cpu, bytes.fromhex("F3 AA F4"))  # rep stosb · hlt
        cpu.regs.rdi, cpu.regs.rcx = 0x5000, 8
        assert isinstance(cpu.run(budget=3), BudgetSpent)
        assert (cpu.regs.rip, cpu.regs.rflags.rf) == (CODE, True)
        assert isinstance(cpu.run(), Halted)
        assert (cpu.regs.rcx, cpu.regs.rflags.rf) == (0, False)


def test_a_far_return_loads_the_accessed_bit_with_the_descriptor() -> None:
    """Memory had it, the segment register had not; VMX would not enter such a state again."""
    with VirtualMachine(engine="soft") as vm, vm.vcpu() as cpu:
        vm.map(at=0, size=1 << 16)
        cpu.enter_protected()
        vm.write(GDT, struct.pack("<QQ", 0, 0x00CF_9A00_0000_FFFF))
        cpu.segments.gdtr = Table(GDT, 15)
        cpu.regs.rsp = 0x8000
        vm.write(0x8000, struct.pack("<II", HANDLER, 8))
        vm.write(HANDLER, b"\xf4")
        put(vm, cpu, b"\xcb")  # retf
        assert isinstance(cpu.run(), Halted)
        assert vm.read(GDT + 13, 1) == b"\x9b"
        assert cpu.state["cs.access_rights"] & 1


def test_what_is_not_canonical_has_no_translation() -> None:
    with VirtualMachine(engine="soft") as vm, vm.vcpu() as cpu:
        ram = vm.map(at=0, size=1 << 16)
        ram[0x4000:0x4008] = (0x5003).to_bytes(8, "little")
        ram[0x5000:0x5008] = (0x83).to_bytes(8, "little")
        cpu.enter_long(0x4000)
        assert cpu.translate(0x1000) == 0x1000
        assert cpu.translate(0x0100_0000_0000_1000) is None


def test_an_event_that_was_taken_back_does_not_come() -> None:
    """It had been read from the VMCS at an entry that ended, unfinished, before it could be delivered."""
    with VirtualMachine(engine="soft") as vm, vm.vcpu() as cpu:
        vm.map(at=0, size=1 << 16)
        cpu.enter_protected()
        cpu.regs.cr4, cpu.regs.rflags, cpu.regs.rsp = 1 << 9, 0x202, 0x8000
        put(vm, cpu, bytes.fromhex("F3 0F 6F 05 00 00 00 10 F4"))  # movdqu xmm0, [device] · hlt: two pieces
        assert isinstance(cpu.run(), MmioLoad)
        cpu.answer(1)
        cpu.inject(0x40)
        assert isinstance(cpu.run(), MmioLoad)
        cpu.write_vmcs(Vmcs.ENTRY_INTERRUPTION_INFO, 0)
        cpu.answer(2)
        assert isinstance(cpu.run(), Halted)
