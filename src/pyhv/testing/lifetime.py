"""Promises of the objects: who keeps whom alive, use after close, fork."""

from __future__ import annotations

import gc
import os
import weakref

from .. import Halted, Kicked, Mapping, VirtualMachine
from ..errors import Closed
from ._promise import promise
from .guest import CODE, guest, raises, thread, waiting


@promise
def leaving_a_vm_ends_its_runs(engine: str) -> None:
    """objects: VirtualMachine.__exit__ kicks its vCPUs and waits; their threads get Kicked, then Closed."""

    def work() -> object:
        first = cpu.run()
        raises(Closed, cpu.run, "vCPU 0")
        return first

    vm = VirtualMachine(engine)
    ram = vm.map(at=0, size=0x2000)
    ram[CODE : CODE + 2] = b"\xeb\xfe"
    cpu = vm.vcpu()
    cpu.regs.rip = CODE
    with thread(work) as results:
        waiting(lambda: cpu.running)
        vm.close()
        assert not cpu.running
    assert results == [Kicked()]


@promise
def use_after_close_says_so(engine: str) -> None:
    """objects: everything of a closed VM or vCPU raises Closed with its name; closing twice is fine."""
    with guest(engine, "f4") as g:
        g.cpu.close()
        g.cpu.close()
        for use in (
            g.cpu.run,
            g.cpu.kick,
            g.cpu.step,
            lambda: g.cpu.regs.rax,
            lambda: setattr(g.cpu.regs, "rax", 1),
            lambda: g.cpu.segments.cs.base,
            lambda: g.cpu.msrs["EFER"],
            lambda: g.cpu.state,
            lambda: g.cpu.answer(1),
        ):
            raises(Closed, use, "vCPU 0 was closed")
    g.vm.close()
    for refused in (
        lambda: g.vm.map(at=0, size=4096),
        g.vm.vcpu,
        lambda: g.vm.read(0, 1),
        lambda: g.vm.unmap(at=0, size=4096),
    ):
        raises(Closed, refused, "the VM was closed")


@promise
def methods_that_were_kept_are_closed_too(engine: str) -> None:
    """objects: `run = cpu.run`, kept from before, raises Closed as `cpu.run` does; so after the VM was closed."""
    for close_vm in (False, True):
        with guest(engine, "f4") as g:
            kept = [g.cpu.run, g.cpu.step, g.cpu.kick, g.cpu.answer, g.cpu.refuse, g.cpu.finish, g.cpu.run]
            (g.vm if close_vm else g.cpu).close()
            for use in kept:
                raises(Closed, use, "vCPU 0 was closed")


@promise
def nobody_outlives_what_it_points_into(engine: str) -> None:
    """objects: a vCPU keeps its VM and the memory; dropped without closing, all of it goes."""
    cpu = _running_vcpu(engine)
    gc.collect()
    assert cpu.run() == Halted()  # type: ignore[attr-defined]
    gone = weakref.ref(cpu)
    del cpu
    gc.collect()
    assert gone() is None


def _running_vcpu(engine: str) -> object:
    vm = VirtualMachine(engine)
    vm.map(at=0, size=0x2000)[CODE] = 0xF4
    cpu = vm.vcpu()
    cpu.regs.rip = CODE
    return cpu


@promise
def dropped_objects_free_their_memory(engine: str) -> None:
    """objects: VMs, vCPUs and mappings that are dropped without closing are collected."""
    vm = VirtualMachine(engine)
    ram = vm.map(at=0, size=0x2000)
    cpu = vm.vcpu()
    assert isinstance(ram, Mapping)
    watched = [weakref.ref(one) for one in (vm, cpu)]
    del vm, ram, cpu
    gc.collect()
    assert [one() for one in watched] == [None, None]


@promise
def a_forked_child_has_no_vm(engine: str) -> None:
    """1.13: the child's use of the parent's VM is Closed; it makes its own; the parent's goes on."""
    with guest(engine, "b001 f4") as g:
        child = os.fork()
        if child == 0:
            os._exit(_child(engine, g.vm, g.cpu, g.ram))
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert g.cpu.run() == Halted()


def _child(engine: str, vm: VirtualMachine, cpu: object, ram: Mapping) -> int:
    """The exit code tells which promise failed."""
    try:
        raises(Closed, lambda: cpu.run(), "fork")  # type: ignore[attr-defined]  # noqa: PLW0108 - looked up when called
        raises(Closed, vm.vcpu, "fork")
        ram.unmap()
        vm.close()
        with guest(engine, "b002 f4") as mine:
            assert mine.cpu.run() == Halted()
            assert mine.cpu.regs.al == 2
    except BaseException:
        return 1
    return 0


@promise
def a_thousand_rounds(engine: str) -> None:
    """1.5: create, map, run and close, again and again, with nothing left behind."""
    for _ in range(1000):
        with guest(engine, "f4") as g:
            assert g.cpu.run() == Halted()
