"""Promises of the objects: a fresh vCPU, the first exits, the modes."""

from __future__ import annotations

from .. import BudgetSpent, Halted, PortOut, Shutdown, VirtualMachine
from ..errors import BadArgument, Closed, NoResources
from ._promise import promise
from .guest import CODE, guest, identity_tables, raises


@promise
def a_fresh_vcpu_is_in_real_mode(engine: str) -> None:
    """objects: segment bases 0, limits 0xFFFF, RFLAGS 2, RIP 0."""
    with VirtualMachine(engine) as vm, vm.vcpu() as cpu:
        assert cpu.regs.rip == 0
        assert cpu.regs.rflags == 2
        assert not cpu.regs.cr0.pe
        assert not cpu.regs.cr0.pg
        for name in ("cs", "ds", "es", "ss", "fs", "gs"):
            segment = getattr(cpu.segments, name).get()
            assert (segment.selector, segment.base, segment.limit) == (0, 0, 0xFFFF), name
        assert all(getattr(cpu.regs, name) == 0 for name in ("rax", "rbx", "rcx", "rsi", "rdi", "r8", "r15"))


@promise
def a_program_talks_and_halts(engine: str) -> None:
    """objects: PortOut is posted with RIP after it; HLT exits with RIP after it."""
    with guest(engine, "b041 baf803 ee f4") as g:
        assert g.cpu.run() == PortOut(0x3F8, 1, 0x41)
        assert g.cpu.regs.rip == CODE + 6
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rip == CODE + 7


@promise
def reset_gives_the_state_of_the_manual(engine: str) -> None:
    """objects: SDM "Processor State After Reset": RIP 0xFFF0, CS base 0xFFFF0000, RFLAGS 2, CR0 0x60000010."""
    with guest(engine, "f4") as g:
        g.cpu.regs.rax = 5
        g.cpu.reset()
        assert g.cpu.regs.rip == 0xFFF0
        cs = g.cpu.segments.cs.get()
        assert (cs.selector, cs.base, cs.limit) == (0xF000, 0xFFFF_0000, 0xFFFF)
        assert g.cpu.regs.rflags == 2
        assert g.cpu.regs.cr0 == 0x6000_0010
        assert g.cpu.regs.rax == 0


@promise
def enter_protected_is_flat_32_bit(engine: str) -> None:
    """objects: enter_protected() runs 32-bit code with flat segments and no paging."""
    with guest(engine, "b878563412 a300500000 f4") as g:  # mov eax, 0x12345678; mov [0x5000], eax
        g.cpu.enter_protected()
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rax == 0x1234_5678
        assert bytes(g.ram[0x5000:0x5004]) == b"\x78\x56\x34\x12"


@promise
def enter_long_is_64_bit_with_paging(engine: str) -> None:
    """objects: enter_long(cr3) runs 64-bit code over the tables at cr3."""
    with guest(engine, "48b8efcdab8967452301 4889042500600000 f4") as g:  # mov rax, imm64; mov [0x6000], rax
        g.cpu.enter_long(identity_tables(g.ram, 0x9000))
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.rax == 0x0123_4567_89AB_CDEF
        assert bytes(g.ram[0x6000:0x6008]) == bytes.fromhex("efcdab8967452301")
        assert g.cpu.translate(0x20_0123) == 0x20_0123
        assert g.cpu.translate(0x4000_0000) is None


@promise
def a_cr3_that_cannot_be_is_refused(engine: str) -> None:
    """objects: enter_long with a misaligned or too high cr3 is BadArgument and changes nothing."""
    with guest(engine, "f4") as g:
        before = g.cpu.state
        raises(BadArgument, lambda: g.cpu.enter_long(0x9001), "cr3 0x9001")
        raises(BadArgument, lambda: g.cpu.enter_long(1 << g.vm.gpa_bits))
        assert g.cpu.state == before


@promise
def a_triple_fault_shuts_down(engine: str) -> None:
    """objects: an exception that cannot be delivered, twice, is Shutdown; RIP is where the first fault was."""
    with guest(engine, "90 0f0b") as g:
        g.cpu.enter_protected()
        assert g.cpu.run() == Shutdown()
        assert g.cpu.regs.rip == CODE + 1


@promise
def virtual_addresses_follow_the_guests_tables(engine: str) -> None:
    """objects: read_virtual and write_virtual go through the guest's own tables and say where they end."""
    from ..errors import Fault  # noqa: PLC0415 - one promise needs it

    with guest(engine, "f4") as g:
        g.cpu.enter_long(identity_tables(g.ram, 0x9000))
        g.cpu.write_virtual(0x4FFE, b"over the edge")
        assert g.cpu.read_virtual(0x4FFE, 13) == b"over the edge"
        assert bytes(g.ram[0x4FFE:0x500B]) == b"over the edge"
        raises(Fault, lambda: g.cpu.read_virtual(0x40_0000, 1), "gva 0x400000")
        raises(Fault, lambda: g.cpu.write_virtual(0x3F_FFFF, b"ab"))


@promise
def instructions_can_be_read(engine: str) -> None:
    """objects: disassemble() names the next instructions in the mode of the vCPU."""
    with guest(engine, "b041 baf803 ee f4") as g:
        first, second, third = g.cpu.disassemble(count=3)
        assert (first.address, first.code, first.text) == (CODE, b"\xb0\x41", "mov al, 0x41")
        assert second.text.lower() == "mov dx, 0x3f8"
        assert third.text == "out dx, al"


@promise
def several_vms_live_at_once(engine: str) -> None:
    """objects: VMs do not see each other, and a VM has several vCPUs with indices from 0."""
    with guest(engine, "b001 f4") as one, guest(engine, "b002 f4") as two:
        assert one.cpu.run() == Halted()
        assert two.cpu.run() == Halted()
        assert (one.cpu.regs.al, two.cpu.regs.al) == (1, 2)
        with one.vm.vcpu() as more:
            assert (one.cpu.index, more.index) == (0, 1)
            more.regs.rip = CODE
            assert more.run() == Halted()
            assert more.regs.al == 1


@promise
def there_is_a_most_of_vcpus(engine: str) -> None:
    """objects: beyond max_vcpus NoResources, and the others live on; a closed one's index comes back."""
    with VirtualMachine(engine) as vm:
        vcpus = [vm.vcpu() for _ in range(vm.max_vcpus)]
        raises(NoResources, vm.vcpu, str(vm.max_vcpus))
        vcpus[3].close()
        assert vm.vcpu().index == 3
        assert vcpus[0].run(budget=0) == BudgetSpent()
        raises(Closed, lambda: vcpus[3].regs.rip, "vCPU 3")
