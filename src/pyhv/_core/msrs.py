"""`cpu.msrs`: MSRs by name, as attribute or key, or by number."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, SupportsIndex

from ..arch.x86_64.layouts import Efer
from ..arch.x86_64.msrs import MSRS, msr_number
from ..errors import BadArgument
from .checks import integer

if TYPE_CHECKING:
    from .vcpu import VCpu


class Msrs:
    """The guest's values of the MSRs: `cpu.msrs["LSTAR"]`, `cpu.msrs.lstar`, `cpu.msrs[0xC0000082]` are the same.

    Names go in any case, with or without IA32_. A name nobody knows, or a number that this vCPU does not have, is
    BadArgument. Apple: hv_vcpu_read_msr, hv_vcpu_write_msr.
    """

    __slots__ = ("_vcpu",)
    _vcpu: VCpu

    def __init__(self, vcpu: VCpu) -> None:
        object.__setattr__(self, "_vcpu", vcpu)

    def __getitem__(self, msr: str | SupportsIndex) -> int:
        number = _number(msr)
        try:
            return self._vcpu.engine.read_msr(number)
        except KeyError:
            raise _unknown(msr) from None

    def __setitem__(self, msr: str | SupportsIndex, value: SupportsIndex) -> None:
        number = _number(msr)
        try:
            self._vcpu.engine.write_msr(number, integer(f"MSR {msr}", value))
        except KeyError:
            raise _unknown(msr) from None
        except ValueError as refused:
            raise BadArgument(f"MSR {_shown(msr)} does not take {index(value):#x}: {refused}") from None

    @property
    def efer(self) -> Efer:
        """IA32_EFER with its bits by name."""
        return Efer(self["EFER"])

    @efer.setter
    def efer(self, value: SupportsIndex) -> None:
        self["EFER"] = value

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: SupportsIndex) -> None:
        self[name] = value

    def exits(self, msr: str | SupportsIndex, exits: bool = True) -> None:
        """Let RDMSR and WRMSR of this MSR leave as MsrRead and MsrWrite, or (False) let the vCPU answer them itself."""
        self._vcpu.engine.msr_exits(_number(msr), bool(exits))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name.lower() for name in MSRS)]

    def __repr__(self) -> str:
        shown = []
        for name, number in MSRS.items():
            try:
                shown.append(f"{name} {self._vcpu.engine.read_msr(number):#x}")
            except KeyError:
                continue
        return "\n".join(shown)


def _number(msr: str | SupportsIndex) -> int:
    if not isinstance(msr, str):
        return integer("an MSR number", msr, high=0xFFFF_FFFF)
    try:
        return msr_number(msr)
    except KeyError:
        raise BadArgument(f"no MSR is known by the name {msr!r}; use its number, or one of {', '.join(MSRS)}") from None


def _unknown(msr: str | SupportsIndex) -> BadArgument:
    return BadArgument(f"this vCPU has no MSR {_shown(msr)}")


def _shown(msr: str | SupportsIndex) -> str:
    return msr if isinstance(msr, str) else f"{index(msr):#x}"
