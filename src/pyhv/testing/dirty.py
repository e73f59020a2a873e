"""Promises of the objects: which pages were written."""

from __future__ import annotations

from .. import DirtyLog, Halted, Perm, VirtualMachine
from ..errors import BadArgument, Closed
from ._promise import promise
from .guest import CODE, HOLE, RAM_BYTES, USER_TABLES, Guest, enter_user, guest, raises, thread, waiting

PAGE = 4096
# mov [0x3000],al · mov [0x5fff],ax · lock inc byte [0x8000] · hlt
STORES = "a20030 a3ff5f f0fe060080 f4"
STORED = [0x3000, 0x5000, 0x6000, 0x8000]


def _run(g: Guest, at: int = CODE) -> None:
    g.cpu.segments.ds.load_real(0)
    g.cpu.regs.rip = at
    assert g.cpu.run() == Halted()


def _pages(log: DirtyLog) -> list[int]:
    return [int(gpa) for gpa in log.take()]


@promise
def each_written_page_is_told_once(engine: str) -> None:
    """objects: plain and locked stores, and those over a page edge; taking forgets; what was before does not count."""
    with guest(engine, STORES) as g:
        _run(g)
        with g.ram.dirty_log() as log:
            assert _pages(log) == []
            for _ in range(3):
                _run(g)
                assert _pages(log) == STORED
                assert _pages(log) == []


@promise
def a_page_that_is_only_read_is_clean(engine: str) -> None:
    """objects: loads and fetches are no stores."""
    with guest(engine, "a00030 a15f5f f4") as g, g.ram.dirty_log() as log:
        _run(g)
        assert not log.take()


@promise
def dirty_pages_say_what_they_are(engine: str) -> None:
    """objects: a number, GPAs, runs, and whether one is among them."""
    with guest(engine, STORES) as g, g.ram.dirty_log() as log:
        _run(g)
        pages = log.take()
        assert (len(pages), bool(pages), pages.page_bytes) == (4, True, PAGE)
        assert list(pages.runs()) == [(0x3000, PAGE), (0x5000, 2 * PAGE), (0x8000, PAGE)]
        assert 0x5FFF in pages
        assert 0x4000 not in pages
        assert RAM_BYTES not in pages


@promise
def a_part_can_be_logged(engine: str) -> None:
    """objects: only its pages are told, by their GPA."""
    with guest(engine, STORES) as g:
        log, other = g.vm.dirty_log(at=0x5000, size=PAGE), g.ram.dirty_log(offset=0x6000, size=0x3000)
        _run(g)
        assert (_pages(log), _pages(other)) == ([0x5000], [0x6000, 0x8000])


@promise
def several_logs_take_nothing_from_each_other(engine: str) -> None:
    """objects: each tells each page, whenever it is taken, and whoever was first or was closed meanwhile."""
    with guest(engine, STORES) as g:
        first = g.ram.dirty_log()
        _run(g)
        with g.vm.dirty_log(at=0x5000, size=2 * PAGE) as second:
            assert _pages(second) == []
            _run(g)
            assert _pages(second) == [0x5000, 0x6000]
        assert _pages(first) == STORED
        _run(g)
        assert _pages(first) == STORED
        third = g.vm.dirty_log(at=0x8000, size=HOLE)
        first.close()
        _run(g)
        assert _pages(third) == [0x8000]


@promise
def what_the_host_writes_counts_where_it_says_so(engine: str) -> None:
    """objects: `write` counts; a buffer's writes do where somebody marks them."""
    with guest(engine, "f4") as g, g.ram.dirty_log() as log:
        g.vm.write(0x2FFF, b"ab")
        assert _pages(log) == [0x2000, 0x3000]
        g.ram[0x4000] = 1
        assert _pages(log) == []
        g.vm.mark_written(0x4000)
        g.vm.mark_written(0x6FFE, 4)
        assert _pages(log) == [0x4000, 0x6000, 0x7000]
        g.vm.read(0x5000, 16)
        assert _pages(log) == []


@promise
def page_tables_are_written_by_the_processor(engine: str) -> None:
    """objects: accessed and dirty bits are stores, the first time that they are set; nothing that matters is missed."""
    tables = range(USER_TABLES, USER_TABLES + 3 * PAGE, PAGE)
    with guest(engine, "880425 00300000 e680") as g:  # mov [0x3000], al; out 0x80, al
        enter_user(g)
        log = g.ram.dirty_log()
        for expected in ({0x3000, *tables}, {0x3000}):
            g.cpu.regs.rip = CODE
            g.cpu.run()
            found = set(_pages(log))
            assert expected <= found
            assert found <= expected | {CODE}  # a KVM with shadow paging tells what it might have let be written


@promise
def the_processor_s_own_stores_count(engine: str) -> None:
    """objects: what an interrupt pushes."""
    with guest(engine, "90 f4") as g:
        g.ram[0x84:0x88] = CODE.to_bytes(2, "little") + bytes(2)  # vector 0x21
        log = g.ram.dirty_log()
        g.cpu.regs.rflags = 0x202
        g.cpu.inject(0x21)
        _run(g)
        assert _pages(log) == [0x7000]


@promise
def a_log_stays_through_changes_of_memory(engine: str) -> None:
    """objects: protect and unmap keep what was told so far; a page that is mapped counts."""
    with guest(engine, STORES) as g, g.vm.dirty_log(at=0, size=RAM_BYTES + PAGE) as log:
        _run(g)
        g.vm.protect(at=0x4000, size=2 * PAGE, perm=Perm.RX)
        g.vm.protect(at=0x4000, size=2 * PAGE, perm=Perm.RWX)
        assert _pages(log) == STORED
        _run(g)
        g.vm.unmap(at=0x3000, size=PAGE)
        assert _pages(log) == STORED
        g.vm.map(at=0x3000, size=PAGE)
        g.vm.map(at=RAM_BYTES, size=PAGE)
        assert _pages(log) == [0x3000, RAM_BYTES]
        _run(g)
        assert _pages(log) == STORED


@promise
def memory_without_exec_is_logged_too(engine: str) -> None:
    """objects: whatever the rights."""
    with guest(engine, STORES) as g:
        g.vm.protect(at=0x3000, size=6 * PAGE, perm=Perm.RW)
        with g.ram.dirty_log() as log:
            for _ in range(2):
                _run(g)
                assert _pages(log) == STORED


@promise
def a_log_reaches_a_running_vcpu(engine: str) -> None:
    """objects: one that begins, is taken, and ends while a guest stores, misses nothing."""
    with guest(engine, "40 a30030 a30050 ebf7") as g:  # next: inc ax; mov [0x3000], ax; mov [0x5000], ax; jmp next
        g.cpu.segments.ds.load_real(0)
        with thread(g.cpu.run) as results:
            waiting(lambda: g.ram[0x3000] != 0)
            with g.ram.dirty_log() as log:
                for _ in range(30):
                    waiting(lambda: set(log.take()) == {0x3000, 0x5000})
            g.cpu.kick()
            waiting(lambda: bool(results))


@promise
def a_log_ends(engine: str) -> None:
    """objects: closed it says so; so does one of a VM that was closed, or of memory that was unmapped."""
    with VirtualMachine(engine) as vm:
        ram = vm.map(at=0, size=PAGE)
        log, other = ram.dirty_log(), ram.dirty_log()
        raises(BadArgument, lambda: vm.dirty_log(at=1, size=PAGE), "4096")
        raises(BadArgument, lambda: vm.dirty_log(at=0, size=0), "size is 0")
        raises(BadArgument, lambda: ram.dirty_log(offset=PAGE), "size")
        raises(BadArgument, lambda: vm.mark_written(1 << vm.gpa_bits), "gpa")
        raises(BadArgument, lambda: vm.mark_written(0, 0), "size_bytes")
        log.close()
        log.close()
        raises(Closed, log.take, "closed")
        ram.unmap()
        raises(Closed, ram.dirty_log, "unmapped")
    assert other.closed
    raises(Closed, other.take, "closed")
    other.close()
