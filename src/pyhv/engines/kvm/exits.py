"""kvm_run → an Exit: one function, on bytes alone."""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack_from
from typing import Final

from ...addresses import GVA
from ...exits import (
    Breakpoint,
    Exit,
    Halted,
    InterruptWindow,
    MmioLoad,
    MmioStore,
    MonitorTrap,
    MsrRead,
    MsrWrite,
    PortIn,
    PortOut,
    PortOutMany,
    Shutdown,
    Unnamed,
)
from . import abi
from .abi import Why

_STEPPED: Final = 1 << 14  # DR6.BS
_io, _mmio, _msr = abi.IO.unpack_from, abi.MMIO.unpack_from, abi.MSR.unpack_from


def exit_of(run: bytearray | memoryview) -> Exit:
    """What KVM reported. Linux: KVM API, "The kvm_run structure"."""
    (reason,) = unpack_from("<I", run, abi.REASON_AT)
    if reason == Why.IO:
        return _port(run)
    if reason == Why.MMIO:
        gpa, data, size, write = _mmio(run, abi.UNION_AT)
        return MmioStore(gpa, size, data & (1 << 8 * size) - 1) if write else MmioLoad(gpa, size)
    if reason == Why.HLT:
        return Halted()
    make = _OTHERS.get(reason)
    return make(run) if make else Unnamed(_raw(run, reason))


def _port(run: bytearray | memoryview) -> Exit:
    out, size, port, count, at = _io(run, abi.UNION_AT)
    if not out:
        return PortIn(port, size, count)
    if count == 1:
        return PortOut(port, size, int.from_bytes(run[at : at + size], "little"))
    return PortOutMany(port, size, bytes(run[at : at + size * count]))


def _read_msr(run: bytearray | memoryview) -> Exit:
    return MsrRead(_msr(run, abi.UNION_AT)[2])


def _write_msr(run: bytearray | memoryview) -> Exit:
    _, _, number, value = _msr(run, abi.UNION_AT)
    return MsrWrite(number, value)


def _debug(run: bytearray | memoryview) -> Exit:
    _, _, linear, dr6, _ = abi.DEBUG_EXIT.unpack_from(run, abi.UNION_AT)
    return MonitorTrap() if dr6 & _STEPPED or not dr6 & 0xF else Breakpoint(GVA(linear))


def _raw(run: bytearray | memoryview, reason: int) -> dict[str, int]:
    detail, more = unpack_from("<QQ", run, abi.UNION_AT)
    return {"kvm_exit_reason": reason, "detail": detail, "more": more}


_OTHERS: Final[dict[int, Callable[[bytearray | memoryview], Exit]]] = {
    int(Why.IRQ_WINDOW_OPEN): lambda _: InterruptWindow(),
    int(Why.SHUTDOWN): lambda _: Shutdown(),
    int(Why.DEBUG): _debug,
    int(Why.X86_RDMSR): _read_msr,
    int(Why.X86_WRMSR): _write_msr,
}
