"""How fast a KVM runs guest kernel code. Where it is itself emulated, the software CPU is the better choice."""

from __future__ import annotations

import mmap
from ctypes import addressof, c_char
from time import perf_counter
from typing import TYPE_CHECKING, Final

from ...arch.x86_64.registers import Reg
from ...errors import HvError
from ...exits import Halted

if TYPE_CHECKING:
    from ..base import EngineVcpu
    from .vm import KvmVm

FAST: Final = 200e6
"""Instructions a second below which a KVM is reported as emulated, and not chosen unless it is named."""

_LOOP: Final = bytes.fromhex("6649 75fc f4")  # dec ecx; jnz; hlt
_FEW, _MANY = 2_000, 4_000_000
_SURELY_SLOW_S: Final = 1e-3


def instructions_a_second(vm: KvmVm) -> float:
    """By a short loop in real mode."""
    memory = mmap.mmap(-1, 4096)
    memory[: len(_LOOP)] = _LOOP
    vm.map(0, addressof(c_char.from_buffer(memory)), 4096, 7)
    vcpu = vm.vcpu(0, False)
    try:
        _seconds(vcpu, 1)
        few = _seconds(vcpu, _FEW)
        if few > _SURELY_SLOW_S:
            return 2 * _FEW / few
        return 2 * _MANY / _seconds(vcpu, _MANY)
    finally:
        vcpu.close("measured")
        vm.close()


def _seconds(vcpu: EngineVcpu, rounds: int) -> float:
    vcpu.write_register(Reg.RIP, 0)
    vcpu.write_register(Reg.RCX, rounds)
    vcpu.read_register(Reg.CR0)
    begin = perf_counter()
    found = vcpu.run()
    took = perf_counter() - begin
    if found != Halted():
        raise HvError(f"a loop in real mode ended with {found}")
    return took
