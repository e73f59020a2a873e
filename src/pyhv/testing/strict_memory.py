"""Promises of Apple's functions: guest memory."""

from __future__ import annotations

import mmap
import tempfile

from ..framework import intel as hv
from ._promise import covers, promise
from .guest import CODE, HOLE, RawGuest, fails, raw_guest, real_mode, strict_vm

PAGE = 4096
RWX = hv.HV_MEMORY_READ | hv.HV_MEMORY_WRITE | hv.HV_MEMORY_EXEC


@promise
@covers(
    hv_vm_allocate="SUCCESS",
    hv_vm_deallocate="SUCCESS",
    hv_vm_map="SUCCESS BAD_ARGUMENT",
    hv_vm_protect="BAD_ARGUMENT",
    hv_vm_unmap="SUCCESS BAD_ARGUMENT",
)
def everything_is_whole_pages(engine: str) -> None:
    """2.1: host address, guest address and size are page multiples; any one off is HV_BAD_ARGUMENT."""
    with strict_vm():
        block = hv.hv_vm_allocate(2 * PAGE, hv.HV_ALLOCATE_DEFAULT)
        for uva, gpa, size in ((8, 0, 0), (0, 8, 0), (0, 0, 8), (0, 0, -PAGE), (0, 1 << 60, 0)):
            fails(
                hv.HV_BAD_ARGUMENT,
                lambda uva=uva, gpa=gpa, size=size: hv.hv_vm_map(block + uva, gpa, PAGE + size, RWX),  # type: ignore[misc]
            )
        for gpa, size in ((8, PAGE), (0, 8), (0, 0)):
            fails(hv.HV_BAD_ARGUMENT, lambda gpa=gpa, size=size: hv.hv_vm_unmap(gpa, size))  # type: ignore[misc]
            fails(hv.HV_BAD_ARGUMENT, lambda gpa=gpa, size=size: hv.hv_vm_protect(gpa, size, 1))  # type: ignore[misc]
        hv.hv_vm_map(block, 0, 2 * PAGE, RWX)
        hv.hv_vm_unmap(0, 2 * PAGE)
        hv.hv_vm_deallocate(block, 2 * PAGE)


@promise
@covers(hv_vm_map="BAD_ARGUMENT ERROR")
def host_memory_must_be_there(engine: str) -> None:
    """2.3: a host range that nobody has mapped, also in part, is HV_BAD_ARGUMENT, not a later crash."""
    with strict_vm():
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_map(PAGE, 0, PAGE, RWX), "0x1000")
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_map((1 << 47) - 16 * PAGE, 0, 32 * PAGE, RWX))
        with mmap.mmap(-1, PAGE) as small:
            fails(hv.HV_ERROR, lambda: hv.hv_vm_map(small, 0, 2 * PAGE, RWX), "0x2000")


@promise
@covers(hv_vm_map="SUCCESS DENIED", hv_vm_protect="DENIED", hv_vm_unmap="SUCCESS")
def read_only_memory_gives_no_write(engine: str) -> None:
    """2.4: WRITE over host memory that cannot be written fails; READ works, as do private and writable file maps."""
    with strict_vm(), tempfile.TemporaryFile() as file:
        file.write(bytes(PAGE))
        file.flush()
        with mmap.mmap(file.fileno(), PAGE, mmap.MAP_SHARED, mmap.PROT_READ) as fixed:
            fails(hv.HV_DENIED, lambda: hv.hv_vm_map(fixed, 0, PAGE, RWX))
            hv.hv_vm_map(fixed, 0, PAGE, hv.HV_MEMORY_READ)
            fails(hv.HV_DENIED, lambda: hv.hv_vm_protect(0, PAGE, RWX))
            hv.hv_vm_unmap(0, PAGE)
        for kind in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            with mmap.mmap(file.fileno(), PAGE, kind, mmap.PROT_READ | mmap.PROT_WRITE) as writable:
                hv.hv_vm_map(writable, 0, PAGE, RWX)
                hv.hv_vm_unmap(0, PAGE)


@promise
@covers(hv_vm_protect="SUCCESS BAD_ARGUMENT UNSUPPORTED")
def flags_are_checked(engine: str) -> None:
    """2.5: READ, WRITE, EXEC are independent, 0 is legal for protect; bits without a meaning are HV_BAD_ARGUMENT."""
    with raw_guest("f4") as raw:
        for flags in range(8):
            hv.hv_vm_protect(0x4000, PAGE, flags)
        fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_protect(0x4000, PAGE, 1 << 20))
        fails(hv.HV_UNSUPPORTED, lambda: hv.hv_vm_protect(0x4000, PAGE, hv.HV_MEMORY_UEXEC))
        assert raw.run() == hv.VMX_REASON_HLT


@promise
@covers(hv_vm_map="SUCCESS ERROR", hv_vm_protect="ERROR", hv_vm_unmap="SUCCESS ERROR")
def overlap_is_an_error(engine: str) -> None:
    """2.6: mapping onto mapped guest addresses is HV_ERROR; after unmap it works."""
    with raw_guest("f4"), mmap.mmap(-1, PAGE) as extra:
        fails(hv.HV_ERROR, lambda: hv.hv_vm_map(extra, 0x3000, PAGE, RWX))
        hv.hv_vm_unmap(0x3000, PAGE)
        hv.hv_vm_map(extra, 0x3000, PAGE, RWX)
        hv.hv_vm_unmap(0x3000, PAGE)
        fails(hv.HV_ERROR, lambda: hv.hv_vm_unmap(0x3000, PAGE))
        fails(hv.HV_ERROR, lambda: hv.hv_vm_protect(0x3000, PAGE, 1))


@promise
@covers(hv_vm_map="SUCCESS", hv_vm_unmap="SUCCESS ERROR")
def unmap_passes_over_holes(engine: str) -> None:
    """2.7: unmapping more than is mapped takes what is there, so that clients can clear a range and map it anew."""
    with strict_vm(), mmap.mmap(-1, 4 * PAGE) as block:
        hv.hv_vm_map(block, PAGE, 4 * PAGE, RWX)
        hv.hv_vm_unmap(2 * PAGE, PAGE)
        hv.hv_vm_unmap(0, 16 * PAGE)
        fails(hv.HV_ERROR, lambda: hv.hv_vm_unmap(0, 16 * PAGE))
        hv.hv_vm_map(block, 0, 4 * PAGE, RWX)
        hv.hv_vm_unmap(0, 4 * PAGE)


@promise
@covers(hv_vcpu_run="SUCCESS", hv_vm_protect="SUCCESS")
def a_violation_is_an_exit_at_the_instruction(engine: str) -> None:
    """2.10, 4.22: a missing right is an EPT violation with GPA and qualification; RIP has not moved."""
    with raw_guest("a30030 f4") as raw:  # mov [0x3000], ax
        hv.hv_vm_protect(0x3000, PAGE, hv.HV_MEMORY_READ)
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        assert raw.reg(hv.HV_X86_RIP) == CODE
        assert raw.read(hv.VMCS_GUEST_PHYSICAL_ADDRESS) == 0x3000
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) & 0x1BF == 0x18A  # write, readable only, linear valid, final access
        hv.hv_vm_protect(0x3000, PAGE, RWX)
        assert raw.run() == hv.VMX_REASON_HLT


@promise
def a_device_read_is_a_violation(engine: str) -> None:
    """4.22: a load from nowhere has qualification bit 0; the client does the load and moves RIP itself."""
    with raw_guest("a00000 f4") as raw:  # mov al, [0]
        raw.write(hv.VMCS_GUEST_DS_BASE, HOLE)
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        assert raw.read(hv.VMCS_GUEST_PHYSICAL_ADDRESS) == raw.read(hv.VMCS_RO_GUEST_LIN_ADDR) == HOLE
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) & 0x1BF == 0x181
        raw.set(hv.HV_X86_RAX, 0x5A)
        raw.set(hv.HV_X86_RIP, CODE + 3)
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_RAX) == 0x5A


@promise
def a_fetch_violation_says_so(engine: str) -> None:
    """4.22: a fetch from nowhere has qualification bit 2, linear valid and final access."""
    with raw_guest("f4") as raw:
        raw.write(hv.VMCS_GUEST_CS_BASE, HOLE)
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        assert raw.read(hv.VMCS_GUEST_PHYSICAL_ADDRESS) == HOLE + CODE
        assert raw.read(hv.VMCS_RO_EXIT_QUALIFIC) & 0x1BF == 0x184


@promise
def a_guest_without_memory_violates_at_its_first_fetch(engine: str) -> None:
    """4.22: so before anything is mapped: the vCPU runs, and nothing backs what it fetches."""
    with strict_vm(), mmap.mmap(-1, PAGE) as page:
        vcpu = hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT)
        raw = RawGuest(page, vcpu)
        real_mode(raw)
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        assert raw.read(hv.VMCS_GUEST_PHYSICAL_ADDRESS) == raw.reg(hv.HV_X86_RIP) == CODE
        page[CODE % PAGE] = 0xF4
        hv.hv_vm_map(page, CODE - CODE % PAGE, PAGE, RWX)
        assert raw.run() == hv.VMX_REASON_HLT
        hv.hv_vcpu_destroy(vcpu)
        hv.hv_vm_unmap(CODE - CODE % PAGE, PAGE)


@promise
@covers(hv_vm_protect="SUCCESS")
def one_exit_a_page_is_a_dirty_log(engine: str) -> None:
    """2.12: protect to READ, one exit, protect back, run again without moving RIP: the store happens once."""
    with raw_guest("ff060030 ff060030 f4") as raw:  # inc word [0x3000], twice
        hv.hv_vm_protect(0x3000, PAGE, hv.HV_MEMORY_READ)
        assert raw.run() == hv.VMX_REASON_EPT_VIOLATION
        hv.hv_vm_protect(0x3000, PAGE, RWX)
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.ram[0x3000] == 2


@promise
@covers(
    hv_vcpu_create="SUCCESS",
    hv_vcpu_destroy="SUCCESS",
    hv_vm_allocate="SUCCESS BAD_ARGUMENT",
    hv_vm_deallocate="SUCCESS BAD_ARGUMENT",
    hv_vm_map="SUCCESS",
    hv_vm_unmap="SUCCESS",
)
def allocated_memory_is_zeroed_pages(engine: str) -> None:
    """2.16: hv_vm_allocate gives zeroed pages; part of a page, 0 and unknown flags are HV_BAD_ARGUMENT."""
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_allocate(PAGE + 1, 0))
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_allocate(0, 0))
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_allocate(PAGE, 1))
    block = hv.hv_vm_allocate(2 * PAGE, 0)
    assert block % PAGE == 0
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_deallocate(block, PAGE))
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_deallocate(block + PAGE, PAGE))
    with strict_vm():
        hv.hv_vm_map(block, 0, 2 * PAGE, RWX)
        hv.hv_vm_deallocate(block, 2 * PAGE)  # the guest keeps it until it is unmapped
        vcpu = hv.hv_vcpu_create(0)
        hv.hv_vcpu_destroy(vcpu)
        hv.hv_vm_unmap(0, 2 * PAGE)
    fails(hv.HV_BAD_ARGUMENT, lambda: hv.hv_vm_deallocate(block, 2 * PAGE))


@promise
@covers(hv_vm_map="SUCCESS")
def the_first_touch_of_a_page_is_no_exit(engine: str) -> None:
    """2.8, 2.9, 3.1: memory from address 0 on that neither side has touched yet is read, written and run in one run."""
    # mov al, [0]; mov di, 0x2000; again: mov al, [di]; mov byte [di], 0xf4; add di, 0x1000; jnc again; jmp 0xf000
    with raw_guest("a00000 bf0020 8a05 c605f4 81c70010 73f5 e9ecdf") as raw:
        assert raw.run() == hv.VMX_REASON_HLT
        assert raw.reg(hv.HV_X86_RIP) == 0xF000
        assert {raw.ram[page] for page in range(0x2000, 0x1_0000, PAGE)} == {0xF4}
