"""Exits of Apple's functions on the engine `kvm`, as a monitor in Python takes them, beside the same on `soft`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pyhv.framework import intel as hv
from pyhv.testing._promise import framework_on
from pyhv.testing.guest import RawGuest, raw_guest

from .figures import Figure, at_least

_HOLE = 0x2_0000
_EXITS: dict[str, tuple[str, int]] = {  # code without an end, and what makes the exit
    "port_out": ("ee90" * 60 + "eb86", hv.VMX_REASON_IO),
    "port_in": ("ec90" * 60 + "eb86", hv.VMX_REASON_IO),
    "mmio_store": ("8807" * 60 + "eb86", hv.VMX_REASON_EPT_VIOLATION),
    "mmio_load": ("8a07" * 60 + "eb86", hv.VMX_REASON_EPT_VIOLATION),
}


def measure_raw(engine: str, quick: bool) -> Iterator[Figure]:
    """Each kind of exit: run, reason, qualification, length, RIP moved on."""
    count, rounds = (400, 3) if quick else (5_000, 9)
    for name, (code, reason) in _EXITS.items():
        with _guest(engine, code) as raw:
            _take(raw, reason, 100)
            seconds = min(_seconds(partial(_take, raw, reason, count)) for _ in range(rounds))
        yield at_least(f"kvm.raw.{name}", count / seconds, "exits/s")


def _seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return max(time.process_time() - start, math.ulp(1.0))


def _take(raw: RawGuest, reason: int, count: int) -> None:
    vcpu = raw.vcpu
    run, read, write = hv.hv_vcpu_run, hv.hv_vmx_vcpu_read_vmcs, hv.hv_vmx_vcpu_write_vmcs
    for _ in range(count):
        run(vcpu)
        if read(vcpu, hv.VMCS_RO_EXIT_REASON) != reason:
            raise SystemExit(f"bench: exit reason {raw.read(hv.VMCS_RO_EXIT_REASON)}, not {reason}")
        read(vcpu, hv.VMCS_RO_EXIT_QUALIFIC)
        length = read(vcpu, hv.VMCS_RO_VMEXIT_INSTR_LEN)
        write(vcpu, hv.VMCS_GUEST_RIP, read(vcpu, hv.VMCS_GUEST_RIP) + length)


@contextmanager
def _guest(engine: str, code: str) -> Iterator[RawGuest]:
    with framework_on(engine), raw_guest(code) as raw:
        raw.set(hv.HV_X86_RDX, 0x3F8)
        raw.write(hv.VMCS_GUEST_DS, _HOLE >> 4)
        raw.write(hv.VMCS_GUEST_DS_BASE, _HOLE)
        yield raw
