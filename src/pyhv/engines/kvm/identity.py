"""What CPUID says on KVM: the table that a vCPU gets, and what a KVM that is emulated makes of it."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping
from ctypes import addressof, c_char
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from ... import _silicon
from ...arch.x86_64.registers import Reg

if TYPE_CHECKING:
    from .vm import KvmVm, Leaf

FEATURES: Final = {(1, 0): (2, 3), (7, 0): (1, 2, 3), (0xD, 1): (0,), (0x8000_0001, 0): (2, 3)}
"""Where a leaf announces features bit by bit: leaf, subleaf → positions among EAX to EDX. SDM vol. 2A, "CPUID"."""

Answers = Mapping[tuple[int, int], tuple[int, int, int, int]]
_TSC_DEADLINE: Final = 1 << 24  # CPUID.1:ECX
_CRYSTAL_KHZ: Final = 25_000
_MOST_RATIO: Final = ((1 << 32) - 1) // _CRYSTAL_KHZ  # Linux multiplies both in 32 bits
_PAGE: Final = 4096
_CODE: Final = bytes.fromhex("0fa2 f4")  # cpuid; hlt
_REGISTERS: Final = (Reg.RAX, Reg.RBX, Reg.RCX, Reg.RDX)


def told(rows: Iterable[Leaf], tsc_khz: int, apic: bool) -> list[Leaf]:
    """A table of the software CPU's, with the rate at which the TSC runs here.

    It does not announce the APIC timer's TSC-deadline mode: KVM would answer IA32_TSC_DEADLINE itself on some
    processors before its filter is asked, and forget it.
    """
    return [_leaf(row, tsc_khz, apic) for row in rows]


def _leaf(row: Leaf, tsc_khz: int, apic: bool) -> Leaf:
    leaf, subleaf, a, b, c, d = row
    if leaf == 1 and apic:
        return leaf, subleaf, a, b, c & ~_TSC_DEADLINE, d
    if leaf == 0x15:  # TSC / crystal = EBX / EAX; ECX: Hz of the crystal
        ratio = Fraction(tsc_khz, _CRYSTAL_KHZ).limit_denominator(_MOST_RATIO * _CRYSTAL_KHZ // tsc_khz)
        return leaf, subleaf, ratio.denominator, ratio.numerator, 1000 * _CRYSTAL_KHZ, d
    if leaf == 0x16:  # MHz: base, most
        return leaf, subleaf, tsc_khz // 1000, tsc_khz // 1000, c, d
    return row


def as_seen(rows: Iterable[Leaf], added: Answers) -> list[Leaf]:
    """A table with the features that this KVM announces beyond it, as far as the software CPU has them.

    The twin needs them: a guest turns on what it sees.
    """
    known = {(leaf, subleaf): answer for leaf, subleaf, *answer in _silicon.default_cpuid(True)}
    seen = []
    for leaf, subleaf, *answer in rows:
        for position in FEATURES.get((leaf, subleaf), ()):
            more = added.get((leaf, subleaf), (0, 0, 0, 0))[position]
            answer[position] |= more & known.get((leaf, subleaf), (0, 0, 0, 0))[position]
        a, b, c, d = answer
        seen.append((leaf, subleaf, a, b, c, d))
    return seen


def added_features(vm: KvmVm) -> Answers:
    """What CPUID announces in a guest that its table does not: nothing, but where KVM is emulated. Closes the VM."""
    vm.is_trusted = True
    memory = mmap.mmap(-1, _PAGE)
    memory[: len(_CODE)] = _CODE
    vm.map(0, addressof(c_char.from_buffer(memory)), _PAGE, 7)
    vcpu = vm.vcpu(0, False)
    try:
        added = {}
        for leaf, subleaf, *answer in vcpu.get_cpuid():
            if (leaf, subleaf) in FEATURES:
                for reg, value in ((Reg.RIP, 0), (Reg.RAX, leaf), (Reg.RCX, subleaf)):
                    vcpu.write_register(reg, value)
                vcpu.run()
                a, b, c, d = (vcpu.read_register(reg) & ~had for reg, had in zip(_REGISTERS, answer, strict=True))
                added[leaf, subleaf] = (a, b, c, d)
        return added
    finally:
        vcpu.close("asked")
        vm.close()
