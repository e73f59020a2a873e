"""Promises of Apple's functions: which host memory a guest can have, and what a change of translations does."""

from __future__ import annotations

import ctypes
import mmap
import struct
import tempfile
import threading

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, RawGuest, raw_guest, real_mode, strict_vm, waiting
from .strict_vmx import TABLES, long_mode

PAGE = 4096
RWX = hv.HV_MEMORY_READ | hv.HV_MEMORY_WRITE | hv.HV_MEMORY_EXEC
_PT = 0x6000
_WINDOW = 0x20_0000  # linear: mapped by the page table at `_PT`
_LOAD = "8a042500002000"  # mov al, [0x200000]


@promise
@covers(hv_vm_map="SUCCESS", hv_vm_allocate="SUCCESS", hv_vm_deallocate="SUCCESS", hv_vcpu_run="SUCCESS")
def every_kind_of_host_memory_will_do(engine: str) -> None:
    """2.3, 2.4, 2.8: by address, from hv_vm_allocate, mmap of memory or of a file, or a heap; none needs PROT_EXEC."""
    heap = ctypes.create_string_buffer(3 * PAGE)
    start = ctypes.addressof(heap)
    block = hv.hv_vm_allocate(PAGE, hv.HV_ALLOCATE_DEFAULT)
    with tempfile.TemporaryFile() as file, mmap.mmap(-1, PAGE) as anonymous:
        file.truncate(PAGE)
        with mmap.mmap(file.fileno(), PAGE) as shared, mmap.mmap(file.fileno(), PAGE, mmap.MAP_PRIVATE) as private:
            for memory in (
                start + -start % PAGE,
                block,
                *(ctypes.addressof(ctypes.c_char.from_buffer(one)) for one in (anonymous, shared, private)),
            ):
                _runs_in(memory)
    hv.hv_vm_deallocate(block, PAGE)


def _runs_in(memory: int) -> None:
    """The guest has the page at 0, runs code in it and writes beside it; the host sees that."""
    ctypes.memmove(memory, bytes.fromhex("c606800077f4"), 6)  # mov byte [0x80], 0x77; hlt
    with strict_vm():
        hv.hv_vm_map(memory, 0, PAGE, RWX)
        raw = RawGuest(mmap.mmap(-1, PAGE), hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT))
        real_mode(raw)
        raw.set(hv.HV_X86_RIP, 0)
        assert raw.run() == hv.VMX_REASON_HLT
        assert ctypes.string_at(memory + 0x80, 1) == b"\x77"
        hv.hv_vcpu_destroy(raw.vcpu)
        hv.hv_vm_unmap(0, PAGE)


@promise
def stores_are_seen_at_once(engine: str) -> None:
    """2.3: while the guest runs: it waits for the host's store, answers, and both see it without an exit."""
    with raw_guest("803e003000 74f9 c606013001 f4") as raw:  # wait: cmp byte [0x3000], 0; je wait; mov byte [0x3001], 1

        def answer() -> None:
            raw.ram[0x3000] = 1
            waiting(lambda: raw.ram[0x3001] == 1)

        host = threading.Timer(0.02, answer)
        host.start()
        assert raw.run() == hv.VMX_REASON_HLT
        host.join()
        assert raw.ram[0x3001] == 1


def _map_window(raw: RawGuest, page: int) -> None:
    raw.ram[_PT : _PT + 8] = struct.pack("<Q", page | 7)


def _two_pages(raw: RawGuest) -> None:
    """Long mode with the window on a page of 0x11, beside it one of 0x22."""
    long_mode(raw)
    raw.ram[TABLES + 0x2008 : TABLES + 0x2010] = struct.pack("<Q", _PT | 7)
    raw.ram[0x3000], raw.ram[0x4000] = 0x11, 0x22
    _map_window(raw, 0x3000)


@promise
@covers(hv_vcpu_invalidate_tlb="SUCCESS")
def an_invalidated_translation_is_read_anew(engine: str) -> None:
    """2.13, 3.9: after hv_vcpu_invalidate_tlb the next run walks the tables that the host has changed."""
    with raw_guest(f"{_LOAD} f4") as raw:
        _two_pages(raw)
        for page, value in ((0x3000, 0x11), (0x4000, 0x22), (0x3000, 0x11)):
            _map_window(raw, page)
            hv.hv_vcpu_invalidate_tlb(raw.vcpu)
            raw.set(hv.HV_X86_RIP, CODE)
            assert raw.run() == hv.VMX_REASON_HLT
            assert raw.reg(hv.HV_X86_RAX) & 0xFF == value


@promise
def the_guests_own_invalidation_works(engine: str) -> None:
    """2.13: INVLPG and a load of CR3 end what was remembered of a translation that the guest has changed itself."""
    change = "c70425 00600000 07400000"  # mov dword [0x6000], 0x4007
    for invalidate in ("0f013c2500002000", "0f20d8 0f22d8"):  # invlpg [0x200000]; mov rax, cr3, mov cr3, rax
        with raw_guest(f"{_LOAD} 88c1 {change} {invalidate} {_LOAD} f4") as raw:  # the first value into CL
            _two_pages(raw)
            assert raw.run() == hv.VMX_REASON_HLT
            assert (raw.reg(hv.HV_X86_RCX) & 0xFF, raw.reg(hv.HV_X86_RAX) & 0xFF) == (0x11, 0x22), invalidate
