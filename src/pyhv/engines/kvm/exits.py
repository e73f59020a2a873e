"""kvm_run → an Exit: one function, on bytes alone."""

from __future__ import annotations

from collections.abc import Callable
from errno import ENOSPC
from struct import unpack_from
from typing import Final

from ...addresses import GPA, GVA
from ...errors import HvError
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
_MOST_PORTS, _MOST_LOADS = 256, 4096  # the guest chooses which: no more are kept
_IO: Final = int(Why.IO)
_MMIO: Final = int(Why.MMIO)
_record, _io, _msr = abi.RECORD.unpack_from, abi.IO.unpack_from, abi.MSR.unpack_from

_new = object.__new__
_set_gpa, _set_size, _set_value = (vars(MmioStore)[name].__set__ for name in ("gpa", "size_bytes", "value"))
_MASKS: Final = tuple((1 << 8 * size) - 1 for size in range(9))
_HALTED: Final = Halted()

# Exits are values, and the same ones come again and again: to look one up costs a third of a new one.
_ports: Final[dict[int, list[Exit]]] = {}  # by the first word of kvm_run.io: the exit for each value of its first byte
_loads: Final[dict[tuple[int, int], MmioLoad]] = {}


def exit_of(run: bytearray | memoryview) -> Exit:
    """What KVM reported. Linux: KVM API, "The kvm_run structure"."""
    reason, first, second, size, write = _record(run, abi.REASON_AT)
    if reason == _IO:
        known = _ports.get(first)
        return known[run[second]] if known else _port(run, first)
    if reason == _MMIO:
        if write:
            return _store(first, size, second & _MASKS[size])
        return _loads.get((first, size)) or _load(first, size)
    make = _OTHERS.get(reason)
    return make(run) if make else Unnamed(_raw(run, reason))


def not_entered(failed: OSError) -> Exit:
    """What a KVM_RUN is taken for that failed.

    A KVM with page tables of its own has none to spare (ENOSPC) before the VM's first memory slot: then there is
    nothing that it could execute, as where its emulator gives up. Raises HvError for every other error.
    """
    if failed.errno == ENOSPC:
        return Unnamed({"kvm_exit_reason": int(Why.INTERNAL_ERROR)})
    raise HvError(f"KVM_RUN failed: {failed}") from None


def _port(run: bytearray | memoryview, word: int) -> Exit:
    out, size, port, count, at = _io(run, abi.UNION_AT)
    if not out:
        read = PortIn(port, size, count)
        _keep(word, [read] * 256)
        return read
    if count > 1:
        return PortOutMany(port, size, bytes(run[at : at + size * count]))
    if size == 1:
        _keep(word, [PortOut(port, 1, value) for value in range(256)])
    return PortOut(port, size, int.from_bytes(run[at : at + size], "little"))


def _keep(word: int, exits: list[Exit]) -> None:
    if len(_ports) < _MOST_PORTS:
        _ports[word] = exits


def _load(gpa: int, size: int) -> MmioLoad:
    found = MmioLoad(GPA(gpa), size)
    if len(_loads) < _MOST_LOADS:
        _loads[gpa, size] = found
    return found


def _store(gpa: int, size: int, value: int) -> MmioStore:
    """As `MmioStore(…)`, in two thirds of its time."""
    made = _new(MmioStore)
    _set_gpa(made, gpa)
    _set_size(made, size)
    _set_value(made, value)
    return made


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
    int(Why.HLT): lambda _: _HALTED,
    int(Why.IRQ_WINDOW_OPEN): lambda _: InterruptWindow(),
    int(Why.SHUTDOWN): lambda _: Shutdown(),
    int(Why.DEBUG): _debug,
    int(Why.X86_RDMSR): _read_msr,
    int(Why.X86_WRMSR): _write_msr,
}
