"""Small guests to put an engine to the test with."""

from __future__ import annotations

import mmap
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from .. import Mapping, Segment, VCpu, VirtualMachine
from ..errors import HvError, Unsupported
from ..framework import intel as hv

CODE: Final = 0x1000
RAM_BYTES: Final = 0x1_0000
HOLE: Final = 0x2_0000
"""A GPA that no test guest maps."""


USER_TABLES: Final = 0xC000


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM with 64 KiB of RAM at 0, and one vCPU in real mode at `CODE`."""

    vm: VirtualMachine
    ram: Mapping
    cpu: VCpu


@contextmanager
def guest(engine: str, code: str, **vcpu: Any) -> Iterator[Guest]:
    """A guest about to run `code` (bytes in hex), with DS at the hole. `vcpu`: what `VirtualMachine.vcpu` takes."""
    program = bytes.fromhex(code)
    with VirtualMachine(engine) as vm:
        ram = vm.map(at=0, size=RAM_BYTES)
        ram[CODE : CODE + len(program)] = program
        cpu = vm.vcpu(**vcpu)
        cpu.regs.rip = CODE
        cpu.regs.rsp = 0x8000
        cpu.segments.ds.load_real(HOLE >> 4)
        yield Guest(vm, ram, cpu)


@dataclass(frozen=True, slots=True)
class RawGuest:
    """The VM of the process through Apple's functions: RAM at 0 as a buffer, one vCPU by its id."""

    ram: mmap.mmap
    vcpu: int

    def run(self) -> int:
        """hv_vcpu_run, then the exit reason."""
        hv.hv_vcpu_run(self.vcpu)
        return self.read(hv.VMCS_RO_EXIT_REASON)

    def read(self, field: int) -> int:
        """A VMCS field."""
        return hv.hv_vmx_vcpu_read_vmcs(self.vcpu, field)

    def write(self, field: int, value: int) -> None:
        """Set a VMCS field."""
        hv.hv_vmx_vcpu_write_vmcs(self.vcpu, field, value)

    def reg(self, reg: int) -> int:
        """A register."""
        return hv.hv_vcpu_read_register(self.vcpu, reg)

    def set(self, reg: int, value: int) -> None:
        """Set a register."""
        hv.hv_vcpu_write_register(self.vcpu, reg, value)

    def exceptions(self) -> None:
        """Make all exceptions exits. Unsupported where the engine cannot."""
        self.write(hv.VMCS_CTRL_EXC_BITMAP, 0xFFFF_FFFF)

    def control(self, field: int, word: int, bits: int) -> int:
        """Set a control field as clients do: (wanted | must) & may. The value written.

        Unsupported for wanted bits that must be 0: a client that needs them gives up here.
        """
        capability = hv.hv_vmx_read_capability(word)
        if bits & ~(capability >> 32):
            raise Unsupported(f"control field {field:#x}: bits {bits & ~(capability >> 32):#x} must be 0")
        value = (bits | capability & 0xFFFF_FFFF) & capability >> 32
        self.write(field, value)
        return value


@contextmanager
def raw_guest(code: str, ram_flags: int = 7, options: int = hv.HV_VM_DEFAULT) -> Iterator[RawGuest]:
    """A guest about to run `code` (hex) in real mode at `CODE`, with HLT, and exceptions if they can be, made exits."""
    with strict_vm(options), mmap.mmap(-1, RAM_BYTES) as ram:
        program = bytes.fromhex(code)
        ram[CODE : CODE + len(program)] = program
        hv.hv_vm_map(ram, 0, RAM_BYTES, ram_flags)
        try:
            yield from _raw_vcpu(ram)
        finally:
            hv.hv_vm_unmap(0, RAM_BYTES)


def _raw_vcpu(ram: mmap.mmap) -> Iterator[RawGuest]:
    vcpu = hv.hv_vcpu_create(hv.HV_VCPU_DEFAULT)
    try:
        raw = RawGuest(ram, vcpu)
        real_mode(raw)
        yield raw
    finally:
        hv.hv_vcpu_destroy(vcpu)


def real_mode(raw: RawGuest) -> None:
    """The controls and state that a monitor of real-mode programs sets."""
    raw.control(hv.VMCS_CTRL_PIN_BASED, hv.HV_VMX_CAP_PINBASED, 0)
    raw.control(hv.VMCS_CTRL_CPU_BASED, hv.HV_VMX_CAP_PROCBASED, hv.CPU_BASED_HLT | hv.CPU_BASED_SECONDARY_CTLS)
    raw.control(hv.VMCS_CTRL_CPU_BASED2, hv.HV_VMX_CAP_PROCBASED2, 0)
    raw.control(hv.VMCS_CTRL_VMENTRY_CONTROLS, hv.HV_VMX_CAP_ENTRY, 0)
    raw.write(hv.VMCS_CTRL_EXC_BITMAP, hv.hv_vmx_vcpu_get_cap_write_vmcs(raw.vcpu, hv.VMCS_CTRL_EXC_BITMAP).allowed_1)
    raw.write(hv.VMCS_GUEST_CR0, 0x20)
    raw.write(hv.VMCS_GUEST_CR4, 0x2000)
    raw.write(hv.VMCS_GUEST_TR_AR, 0x83)
    raw.write(hv.VMCS_GUEST_LDTR_AR, 0x1_0000)
    raw.set(hv.HV_X86_RIP, CODE)
    raw.set(hv.HV_X86_RSP, 0x8000)
    raw.set(hv.HV_X86_RFLAGS, 2)


@contextmanager
def strict_vm(options: int = hv.HV_VM_DEFAULT) -> Iterator[None]:
    """The VM of the process, for the time of a test."""
    hv.hv_vm_create(options)
    try:
        yield
    finally:
        hv.hv_vm_destroy()


def identity_tables(ram: Mapping, at: int) -> int:
    """4-level tables that map the first 4 MiB onto themselves in two 2 MiB pages; returns CR3.

    Three pages from `at` on.
    """
    rights = 0b111  # present, writable, user
    ram[at : at + 8] = struct.pack("<Q", at + 0x1000 | rights)
    ram[at + 0x1000 : at + 0x1008] = struct.pack("<Q", at + 0x2000 | rights)
    ram[at + 0x2000 : at + 0x2010] = struct.pack("<QQ", rights | 1 << 7, 0x20_0000 | rights | 1 << 7)
    return at


def enter_user(g: Guest) -> None:
    """64-bit mode at CPL 3, with ports allowed and memory mapped onto itself.

    Its tables are three pages from `USER_TABLES` on.
    """
    g.cpu.enter_long(identity_tables(g.ram, USER_TABLES))
    g.cpu.segments.cs = Segment(0x0B, 0, 0xFFFF_FFFF, 0xA0FB)
    for name in ("ss", "ds", "es"):
        setattr(g.cpu.segments, name, Segment(0x13, 0, 0xFFFF_FFFF, 0xC0F3))
    g.cpu.regs.rflags = g.cpu.regs.rflags.replace(iopl=3)


def raises(kind: type[BaseException], call: Callable[[], object], *words: str) -> BaseException:
    """`call` must raise exactly this kind, with these words in the message."""
    try:
        result = call()
    except kind as error:
        if type(error) is not kind:
            raise AssertionError(f"raised {error!r}, not a plain {kind.__name__}") from error
        for word in words:
            assert word in str(error), f"the message {str(error)!r} does not say {word!r}"
        return error
    raise AssertionError(f"no {kind.__name__} was raised; the call gave {result!r}")


def fails(code: int, call: Callable[[], object], *words: str) -> HvError:
    """`call` must raise the HvError of this hv_return_t."""
    try:
        result = call()
    except HvError as error:
        assert error.code == code, f"{error!r} has code {error.code:#x}, not {code:#x}"
        for word in words:
            assert word in str(error), f"the message {str(error)!r} does not say {word!r}"
        return error
    raise AssertionError(f"no HvError {code:#x} was raised; the call gave {result!r}")


def waiting(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until `condition()`; AssertionError when it does not come true."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"did not come true within {seconds:g} s"
        time.sleep(0.0005)


@contextmanager
def thread(work: Callable[[], object]) -> Iterator[list[Any]]:
    """Do `work` in another thread. Afterwards the list holds its result, or what it raised is raised here."""
    results: list[Any] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=body, daemon=True)
    worker.start()
    yield results  # a failure of the caller does not wait: whoever closes the VM stops the thread
    worker.join(20)
    assert not worker.is_alive(), "the other thread did not end"
    if failures:
        raise failures[0]


def in_thread(work: Callable[[], object]) -> Any:
    """The result of `work`, done in another thread."""
    with thread(work) as results:
        pass
    return results[0]
