"""Promises of the objects: guest memory, and every wrong argument for it."""

from __future__ import annotations

import mmap
import time

from .. import Halted, Kicked, MmioFetch, MmioLoad, MmioStore, Perm, VirtualMachine
from ..addresses import GPA
from ..errors import BadArgument, Closed, Denied, Fault, HvError
from ._promise import promise
from .guest import CODE, HOLE, guest, raises, thread, waiting

PAGE = 4096


@promise
def both_sides_see_memory_at_once(engine: str) -> None:
    """2.3: guest stores are visible to the host, and the reverse."""
    with guest(engine, "a02000 a22100 f4") as g:  # mov al,[0x20]; mov [0x21],al
        g.cpu.segments.ds.load_real(0)
        g.ram[0x20] = 0x5A
        assert g.cpu.run() == Halted()
        assert g.ram[0x21] == 0x5A
        assert g.vm.read(0x20, 2) == b"\x5a\x5a"


@promise
def a_buffer_of_ones_own_can_be_mapped(engine: str) -> None:
    """2.3: mmap memory is mapped as it is, at GPA 0 too; it is kept alive."""
    with VirtualMachine(engine) as vm, mmap.mmap(-1, PAGE) as mine:
        mapping = vm.map(mine, at=0)
        mine[0:1] = b"\xf4"
        assert vm.read(0, 1) == b"\xf4"
        vm.write(1, b"abc")
        assert mine[1:4] == b"abc"
        assert bytes(mapping[1:4]) == b"abc"
        mapping.unmap()
        raises(Closed, lambda: mapping[0])


@promise
def a_part_of_a_buffer_can_be_mapped(engine: str) -> None:
    """2.3: the first `size` bytes of a larger buffer; more than it holds is an error."""
    with VirtualMachine(engine) as vm, mmap.mmap(-1, 2 * PAGE) as mine:
        with vm.map(mine, at=0, size=PAGE):
            raises(Fault, lambda: vm.read(PAGE, 1))
        raises(HvError, lambda: vm.map(mine, at=0, size=3 * PAGE), "0x3000", "0x2000")


@promise
def misaligned_is_refused(engine: str) -> None:
    """2.1: GPA, size and host address are whole pages; any one off is BadArgument, and nothing is mapped."""
    with VirtualMachine(engine) as vm:
        raises(BadArgument, lambda: vm.map(at=1, size=PAGE), "0x1", "4096")
        raises(BadArgument, lambda: vm.map(at=0, size=PAGE + 1), "size", "4096")
        with mmap.mmap(-1, 2 * PAGE) as mine:
            view = memoryview(mine)[8 : PAGE + 8]
            raises(BadArgument, lambda: vm.map(view, at=0), "host address")
            view.release()
        assert vm.space.regions() == ()


@promise
def empty_and_beyond_are_refused(engine: str) -> None:
    """2.1: size 0, and ranges that end beyond the guest-physical address space, are BadArgument."""
    with VirtualMachine(engine) as vm:
        end = 1 << vm.gpa_bits
        raises(BadArgument, lambda: vm.map(at=0, size=0), "size is 0")
        raises(BadArgument, lambda: vm.map(at=end, size=PAGE), f"{end:#x}")
        raises(BadArgument, lambda: vm.map(at=end - PAGE, size=2 * PAGE), "beyond")
        raises(BadArgument, lambda: vm.map(at=-PAGE, size=PAGE))
        vm.map(at=end - PAGE, size=PAGE)
        assert vm.read(end - 1, 1) == b"\0"


@promise
def overlap_is_refused(engine: str) -> None:
    """2.6: mapping onto mapped addresses is HV_ERROR, names what is there, and changes nothing."""
    with VirtualMachine(engine) as vm:
        ram = vm.map(at=0x4000, size=4 * PAGE)
        ram[0] = 7
        for at, size in ((0x4000, PAGE), (0x3000, 2 * PAGE), (0x7000, 2 * PAGE), (0, 16 * PAGE)):
            raises(HvError, lambda at=at, size=size: vm.map(at=at, size=size), "0x4000", "0x8000")  # type: ignore[misc]
        assert vm.read(0x4000, 1) == b"\x07"
        vm.map(at=0x8000, size=PAGE)
        vm.map(at=0x3000, size=PAGE)


@promise
def parts_can_be_unmapped_and_protected(engine: str) -> None:
    """2.7: any page-aligned sub-range, across mappings too; the rest stays."""
    with VirtualMachine(engine) as vm:
        first, _ = vm.map(at=0, size=4 * PAGE), vm.map(at=4 * PAGE, size=4 * PAGE)
        vm.unmap(at=3 * PAGE, size=2 * PAGE)
        raises(Fault, lambda: vm.read(3 * PAGE, 1))
        raises(Fault, lambda: vm.read(5 * PAGE - 1, 1))
        assert vm.read(0, 3 * PAGE) == bytes(3 * PAGE)
        assert vm.read(5 * PAGE, 3 * PAGE) == bytes(3 * PAGE)
        vm.map(at=3 * PAGE, size=2 * PAGE)
        vm.protect(at=PAGE, size=6 * PAGE, perm=Perm.READ)
        first.unmap()
        raises(Fault, lambda: vm.read(0, 1))
        assert vm.read(3 * PAGE, 1) == b"\0"


@promise
def nothing_cannot_be_unmapped_or_protected(engine: str) -> None:
    """2.7: unmapping nothing is an error without harm; protecting a range with a hole is one and changes nothing."""
    with guest(engine, "c606003001 f4") as g:  # mov byte [0x3000], 1
        g.cpu.segments.ds.load_real(0)
        raises(HvError, lambda: g.vm.unmap(at=HOLE, size=PAGE), f"{HOLE:#x}")
        raises(HvError, lambda: g.vm.protect(at=0, size=HOLE, perm=0), "0x10000")
        raises(BadArgument, lambda: g.vm.protect(at=0, size=PAGE, perm=8), "perm")
        assert g.cpu.run() == Halted()


@promise
def rights_are_independent(engine: str) -> None:
    """2.5, 2.10: without WRITE a store is an exit and RAM stays; without EXEC a fetch is; 0 takes all."""
    with guest(engine, "c606003001 f4") as g:
        g.cpu.segments.ds.load_real(0)
        g.vm.protect(at=0x3000, size=PAGE, perm=Perm.RX)
        assert g.cpu.run() == MmioStore(0x3000, 1, 1)  # type: ignore[arg-type]
        assert g.ram[0x3000] == 0
        g.vm.protect(at=0x3000, size=PAGE, perm=Perm.RW)
        g.cpu.regs.rip = CODE
        assert g.cpu.run() == Halted()
        assert g.ram[0x3000] == 1
        g.vm.protect(at=0x1000, size=PAGE, perm=Perm.RW)
        g.cpu.regs.rip = CODE
        assert g.cpu.run() == MmioFetch(CODE)  # type: ignore[arg-type]
        g.vm.protect(at=0x1000, size=PAGE, perm=Perm.NONE)
        assert g.cpu.run() == MmioFetch(CODE)  # type: ignore[arg-type]
        g.vm.protect(at=0x1000, size=PAGE, perm=Perm.RX)
        assert g.cpu.run() == Halted()


@promise
def read_only_memory_gives_no_write(engine: str) -> None:
    """2.4: WRITE over a read-only buffer is Denied, at map and at protect; READ | EXEC works."""
    with VirtualMachine(engine) as vm, mmap.mmap(-1, PAGE, prot=mmap.PROT_READ) as fixed:
        raises(Denied, lambda: vm.map(fixed, at=0), "read-only")
        mapping = vm.map(fixed, at=0, perm=Perm.RX)
        raises(Denied, lambda: mapping.protect(Perm.RWX), "read-only")
        raises(Denied, lambda: vm.protect(at=0, size=PAGE, perm=Perm.RW))
        raises(Denied, lambda: vm.write(0, b"x"))
        assert vm.read(0, 1) == b"\0"
        mapping.unmap()
        raises(Closed, lambda: mapping[0])


@promise
def unmap_reaches_a_running_vcpu(engine: str) -> None:
    """2.13: unmap and protect take effect for running vCPUs at once, and return when no vCPU can touch the pages."""
    with guest(engine, "fe060000 ebfa") as g:  # inc byte [0]; jmp
        device = g.vm.map(at=HOLE, size=PAGE)
        with thread(g.cpu.run) as results:
            waiting(lambda: device[0] != 0)
            device.unmap()
            after = device[0]
            time.sleep(0.002)
            assert device[0] == after, "the guest wrote to a page after unmap() had returned"
            waiting(lambda: bool(results))
        assert results == [MmioLoad(HOLE, 1)]  # type: ignore[arg-type]


@promise
def protect_reaches_a_running_vcpu(engine: str) -> None:
    """2.13: taking WRITE from a page that a running guest writes makes its next store an exit."""
    with guest(engine, "c606000001 ebf9") as g:
        device = g.vm.map(at=HOLE, size=PAGE)
        with thread(g.cpu.run) as results:
            waiting(lambda: device[0] == 1)
            device.protect(Perm.READ)
            waiting(lambda: bool(results))
        assert results == [MmioStore(HOLE, 1, 1)]  # type: ignore[arg-type]


@promise
def mapping_reaches_a_running_vcpu(engine: str) -> None:
    """2.13: memory that is mapped while others run is there for them."""
    with guest(engine, "ebfe") as g, thread(g.cpu.run) as results:
        waiting(lambda: g.cpu.running)
        extra = g.vm.map(at=HOLE, size=PAGE)
        extra[0] = 9
        assert g.vm.read(HOLE, 1) == b"\x09"
        g.cpu.kick()
        waiting(lambda: bool(results))
        assert results == [Kicked()]


@promise
def code_written_by_the_host_is_the_code_that_runs(engine: str) -> None:
    """2.15: after a host write to code that ran already, the new code runs."""
    with guest(engine, "b001 f4") as g:
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.al == 1
        g.ram[CODE + 1] = 2
        g.cpu.regs.rip = CODE
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.al == 2
        g.vm.write(CODE + 1, b"\x03")
        g.cpu.regs.rip = CODE
        assert g.cpu.run() == Halted()
        assert g.cpu.regs.al == 3


@promise
def a_mapping_outlives_its_vm_as_a_buffer(engine: str) -> None:
    """objects: the bytes stay readable after unmap() and after the VM; using the mapping then says what happened."""
    with VirtualMachine(engine) as vm:
        ram = vm.map(at=0, size=PAGE)
        ram[0:3] = b"abc"
        other = vm.map(at=PAGE, size=PAGE)
        other.unmap()
        other.unmap()
        raises(Closed, lambda: other.protect(Perm.READ), "unmapped")
    assert bytes(ram[0:3]) == b"abc"
    ram.unmap()
    raises(Closed, lambda: ram.protect(Perm.READ))


@promise
def guest_memory_ends_where_it_ends(engine: str) -> None:
    """objects: read and write over an unmapped page are Fault that names it; a failed write writes nothing."""
    with VirtualMachine(engine) as vm:
        vm.map(at=0, size=PAGE)
        raises(Fault, lambda: vm.read(PAGE - 2, 4), f"{PAGE:#x}")
        raises(Fault, lambda: vm.write(PAGE - 2, b"abcd"), f"{PAGE:#x}")
        assert vm.read(PAGE - 2, 2) == b"\0\0"
        raises(BadArgument, lambda: vm.read(-1, 1))


@promise
def a_change_of_read_only_memory_is_one_store(engine: str) -> None:
    """2.10: an instruction that reads and writes back reads the memory; only its store leaves, with the new value."""
    with guest(engine, "2e 8006 1020 05 f4") as g:  # add byte [cs:0x2010], 5; hlt
        g.ram[0x2010] = 0x30
        g.ram.protect(Perm.READ, offset=0x2000, size=0x1000)
        assert g.cpu.run() == MmioStore(GPA(0x2010), 1, 0x35)
        assert g.cpu.regs.rip == CODE + 6
        assert g.ram[0x2010] == 0x30
        assert g.cpu.run() == Halted()
