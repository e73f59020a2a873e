from __future__ import annotations

import ctypes
import errno
import mmap
from pathlib import Path

import pytest

from pyhv import BadArgument, Denied, Perm
from pyhv._core import host, mapping

PAGE = 4096
MAPS = """\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
00e03000-00e24000 rw-p 00000000 00:00 0           [heap]
7ffc0000-7ffc1000 ---p 00000000 00:00 0
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
"""


def test_parse_maps() -> None:
    code, heap, guard, vsyscall = host.parse_maps(MAPS)
    assert code == host.HostRange(0x40_0000, 0x45_2000, True, False)
    assert (heap.readable, heap.writable) == (True, True)
    assert (guard.readable, guard.writable) == (False, False)
    assert vsyscall.start == 0xFFFF_FFFF_FF60_0000


@pytest.fixture(params=["asks", "reads"], autouse=True)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux from 6.11 on answers for one address; before, its text has to be read."""

    def refuse(maps: int, address: int) -> host.HostRange:
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    if request.param == "reads":
        monkeypatch.setattr(host, "_ask_kernel", refuse)


def test_the_kernel_s_two_ways_agree() -> None:
    with mmap.mmap(-1, 4 * PAGE) as block, Path("/proc/self/maps").open("rb") as maps:
        address = _address(block)
        try:
            asked = host._ask_kernel(maps.fileno(), address)
        except OSError as error:
            pytest.skip(f"this kernel does not answer: {error}")
        assert asked in host.parse_maps(Path("/proc/self/maps").read_text())
        with pytest.raises(FileNotFoundError):
            host._ask_kernel(maps.fileno(), PAGE)


def _address(block: mmap.mmap) -> int:
    view = ctypes.c_char.from_buffer(block)
    address = ctypes.addressof(view)
    del view
    return address


def test_mapped_memory_passes_across_several_ranges() -> None:
    with mmap.mmap(-1, 4 * PAGE) as block:
        host.require_mapped(_address(block), 4 * PAGE, Perm.RWX)


def test_what_nobody_mapped_is_named() -> None:
    with pytest.raises(BadArgument, match="nobody in this process has mapped 0x1000"):
        host.require_mapped(PAGE, PAGE, Perm.READ)


def test_read_only_memory_gives_no_write() -> None:
    entries = host.parse_maps(Path("/proc/self/maps").read_text())
    text = next(entry for entry in entries if entry.readable and not entry.writable)
    host.require_mapped(text.start, PAGE, Perm.RX)
    with pytest.raises(Denied, match="not writable"):
        host.require_mapped(text.start, PAGE, Perm.RW)


def test_allocate_and_give_back() -> None:
    address = host.allocate(2 * PAGE, PAGE)
    assert host.owner_of(address + PAGE) is host.owner_of(address) is not None
    assert host.owner_of(address + 2 * PAGE) is not host.owner_of(address)
    with pytest.raises(BadArgument, match="has 0x2000 bytes"):
        host.deallocate(address, PAGE)
    host.deallocate(address, 2 * PAGE)
    with pytest.raises(BadArgument, match="given back"):
        host.deallocate(address, 2 * PAGE)


def test_what_was_mapped_is_not_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """hv_vm_protect, a page at a time, is how a client keeps a dirty log: it must not read all of /proc/self/maps."""
    looks = []

    def look(address: int, size: int, perm: Perm) -> Perm:
        looks.append(perm)
        return host.require_mapped(address, size, perm)

    monkeypatch.setattr(mapping, "require_mapped", look)
    with mmap.mmap(-1, 4 * PAGE) as block:
        borrowed = mapping.BorrowedRange()
        borrowed.require(_address(block), 4 * PAGE, Perm.READ)
        for perm in (Perm.NONE, Perm.RWX, Perm.RX):
            borrowed.require(_address(block) + PAGE, PAGE, perm)
    assert looks == [Perm.READ]


def test_rights_that_the_process_did_not_have_are_looked_up() -> None:
    with mmap.mmap(-1, 2 * PAGE) as block:
        address, libc = _address(block), ctypes.CDLL(None)
        assert libc.mprotect(ctypes.c_void_p(address), PAGE, mmap.PROT_READ) == 0
        borrowed = mapping.BorrowedRange()
        borrowed.require(address, 2 * PAGE, Perm.RX)
        borrowed.require(address + PAGE, PAGE, Perm.RW)
        with pytest.raises(Denied, match="not writable"):
            borrowed.require(address, PAGE, Perm.RW)
        assert libc.mprotect(ctypes.c_void_p(address), PAGE, mmap.PROT_READ | mmap.PROT_WRITE) == 0
        borrowed.require(address, PAGE, Perm.RW)
