"""Address spaces as objects: who may close them, and how long they live."""

from __future__ import annotations

import gc
import weakref

import pytest

import pyhv
from pyhv import BadArgument, Busy, Closed, NoResources, VirtualMachine

PAGE = 4096
LOAD = bytes.fromhex("a00020f4")  # mov al, [0x2000]; hlt


def test_a_vcpu_moves_between_spaces() -> None:
    with VirtualMachine("soft") as vm, vm.add_space() as other:
        for space, value in ((vm.space, 0x11), (other, 0x22)):
            ram = space.map(at=0, size=0x4000)
            ram[0x1000:0x1004] = LOAD
            ram[0x2000] = value
        with vm.vcpu() as cpu:
            assert cpu.space is vm.space
            seen = []
            for space in (other, vm.space, other):
                cpu.space = space
                cpu.regs.rip = 0x1000
                assert isinstance(cpu.run(), pyhv.Halted)
                seen.append((cpu.regs.rax, cpu.read_virtual(0x2000, 1)[0]))
            assert seen == [(0x22, 0x22), (0x11, 0x11), (0x22, 0x22)]
            cpu.write_virtual(0x2000, b"\x33")
            assert (vm.read(0x2000, 1), other.read(0x2000, 1)) == (b"\x11", b"\x33")
            with pytest.raises(Busy, match="vCPU 0 is in address space 1"):
                other.close()
            cpu.space = vm.space


def test_a_closed_space_is_no_place_to_go() -> None:
    with VirtualMachine("soft") as vm, VirtualMachine("soft") as stranger, vm.vcpu() as cpu:
        space = vm.add_space()
        kept = space.map(at=0, size=PAGE)
        space.close()
        space.close()
        assert not kept.mapped
        with pytest.raises(Closed, match="address space 1"):
            space.map(at=0, size=PAGE)
        for wrong in (space, stranger.space, stranger.add_space()):
            with pytest.raises(BadArgument, match="no live address space"):
                cpu.space = wrong
        assert cpu.space is vm.space
        with pytest.raises(BadArgument, match="begins with"):
            vm.space.close()
        with pytest.raises(BadArgument, match="live now: 0"):
            vm.spaces[1]


def test_a_vcpu_that_is_closed_holds_no_space() -> None:
    with VirtualMachine("soft") as vm:
        space = vm.add_space()
        cpu = vm.vcpu()
        cpu.space = space
        cpu.close()
        space.close()


def test_there_is_an_end_to_them() -> None:
    with VirtualMachine("soft") as vm:
        spaces = [vm.add_space() for _ in range(vm.spaces.most - 1)]
        with pytest.raises(NoResources, match=str(vm.spaces.most)):
            vm.add_space()
        spaces[7].close()
        assert vm.add_space().index == spaces[7].index


def test_spaces_end_with_their_vm() -> None:
    with VirtualMachine("soft") as vm:
        space = vm.add_space()
        mapping = space.map(at=0, size=PAGE)
    assert not mapping.mapped
    for use in (lambda: space.read(0, 1), vm.add_space, lambda: vm.map(at=0, size=PAGE)):
        with pytest.raises(Closed):
            use()


def test_no_space_keeps_a_vm_that_nobody_else_has() -> None:
    vm = VirtualMachine("soft")
    space, gone = vm.add_space(), weakref.ref(vm)
    space.map(at=0, size=PAGE)
    gc.disable()
    try:
        del vm
        assert gone() is None
    finally:
        gc.enable()
    with pytest.raises(Closed, match="VM of address space 1 is gone"):
        space.read(0, 1)
